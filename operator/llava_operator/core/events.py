"""What people are told about a decision once it is written: one event for each that changes a job's course."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from llava_operator.core.decision import (
    Decision,
    Fail,
    FinishStage,
    Rest,
    RestartStage,
    StartAttempt,
    StopAttempt,
    Succeed,
    Suspend,
    Wait,
)

__all__ = ["Event", "event_of"]


@dataclass(frozen=True)
class Event:
    """A word for programs and a sentence for people; warnings are what somebody may want to act on."""

    reason: str
    message: str
    is_warning: bool = False


def event_of(decision: Decision) -> Event | None:
    """Put a decision into words; None for those that change nothing."""
    event: Event | None = None
    match decision:
        case StartAttempt(stage=planned, attempt=attempt):
            event = Event("AttemptStarted", f"{planned.stage} attempt {attempt} starts, ranks: {planned.num_ranks}")
        case RestartStage(stage=stage, failed=failed):
            charged = "charged" if failed.charged else "not charged"
            told = (
                f"{stage} attempt {failed.attempt} failed ({failed.reason}): {failed.message} It restarts, {charged}."
            )
            event = Event("AttemptFailed", told, is_warning=True)
        case FinishStage(stage=stage):
            event = Event("StageSucceeded", f"{stage} is done")
        case Suspend():
            event = Event("Suspended", "the job is suspended; checkpoints are kept")
        case Succeed():
            event = Event("Succeeded", "all stages are done")
        case Fail(cause=cause, message=message):
            event = Event(cause.reason, message, is_warning=True)
        case StopAttempt() | Wait() | Rest():
            pass
        case _:
            assert_never(decision)
    return event
