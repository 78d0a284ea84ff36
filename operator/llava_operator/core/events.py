"""What people are told about a decision once it is written: one event for each that changes a job's course.

Where events are kept for everybody, as on an API server, a job has at most twelve in its whole life: that it starts,
each stage that is done, the first three failures that lead to a restart, the first suspension, a spec that is refused
for the first time, and the end. All the rest is routine, and status tells of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

from llava_contract.causes import EDITED
from llava_contract.conditions import ConditionType, Reason
from llava_contract.v1alpha1.status import AttemptRecord, JobStatus
from llava_operator.core.conditions import find_condition
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

__all__ = ["Event", "event_of", "refusal_event"]

_TOLD_FAILURES: Final = 3


@dataclass(frozen=True)
class Event:
    """A word for programs and a sentence for people; warnings are what somebody may want to act on."""

    reason: str
    message: str
    is_warning: bool = False
    is_routine: bool = False
    """Whether only a log that may grow shall hold it."""


def event_of(decision: Decision, before: JobStatus) -> Event | None:
    """Put a decision into words; None for those that change nothing. `before` is the status that it changed."""
    event: Event | None = None
    match decision:
        case StartAttempt(stage=planned, attempt=attempt):
            told = f"{planned.stage} attempt {attempt} starts, ranks: {planned.num_ranks}"
            event = Event("AttemptStarted", told, is_routine=before.start_time is not None)
        case RestartStage(stage=stage, failed=failed):
            event = _failure(stage, failed, num_before=sum(len(one.history) for one in before.stages))
        case FinishStage(stage=stage):
            event = Event("StageSucceeded", f"{stage} is done")
        case Suspend():
            is_first = find_condition(before.conditions, ConditionType.SUSPENDED) is None
            event = Event("Suspended", "the job is suspended; checkpoints are kept", is_routine=not is_first)
        case Succeed():
            event = Event("Succeeded", "all stages are done")
        case Fail(cause=cause, message=message):
            event = Event(cause.reason, message, is_warning=True)
        case StopAttempt() | Wait() | Rest():
            pass
        case _:
            assert_never(decision)
    return event


def refusal_event(before: JobStatus, why: str) -> Event:
    """Say that a spec is refused; `before` is the status that does not say so yet."""
    ready = find_condition(before.conditions, ConditionType.READY)
    is_told = ready is not None and ready.reason == Reason.SPEC_REFUSED
    is_first = not is_told and find_condition(before.conditions, ConditionType.FAILED) is None
    return Event(Reason.SPEC_REFUSED, why, is_warning=True, is_routine=not is_first)


def _failure(stage: str, failed: AttemptRecord, *, num_before: int) -> Event:
    is_routine = num_before >= _TOLD_FAILURES
    if failed.reason == EDITED.reason:
        return Event(failed.reason, f"{stage} is made anew: {failed.message}", is_routine=is_routine)
    charged = "charged" if failed.charged else "not charged"
    told = f"{stage} attempt {failed.attempt} failed ({failed.reason}): {failed.message} It restarts, {charged}."
    return Event("AttemptFailed", told, is_warning=True, is_routine=is_routine)
