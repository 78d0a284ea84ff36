"""The nouns of what exists: attempts with their state, evidence and live members, as a backend saw them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from llava_contract.result import CheckpointRef, Progress, StageResult
from llava_contract.run import Stage

__all__ = ["AttemptState", "Observed", "ObservedAttempt", "Waiting"]


class AttemptState(StrEnum):
    """Where an attempt stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class Waiting:
    """What an attempt that has not begun is waiting for: a word for programs and a sentence for people."""

    reason: str
    message: str


@dataclass(frozen=True)
class ObservedAttempt:
    """One attempt; `members` are the processes or pods of it that are still alive, even after it ended.

    `gang` identifies the members of an attempt that is complete and whose loss of any one is the loss of all.
    `moved_at` is when `progress` last moved, by the clock of whoever observes; None when that cannot be known now.
    `unheard` says why its progress cannot be asked for, once that has lasted.
    """

    child: str
    stage: Stage
    attempt: int
    state: AttemptState
    exit_code: int | None = None
    result: StageResult | None = None
    progress: Progress | None = None
    moved_at: datetime | None = None
    unheard: str = ""
    members: tuple[str, ...] = ()
    gang: tuple[str, ...] = ()
    waiting: Waiting | None = None
    num_placed: int = 0
    """Living members that have their place, and with it their GPUs, whether they run or not."""
    is_released: bool = False
    """Whether a queue took its members away: new ones will come, and those that were known count no more."""
    remains: bool = False
    """Whether something of it is kept that tells what happened and can be removed, even if nothing can act any more."""

    @property
    def checkpoint(self) -> CheckpointRef | None:
        """The newest commit that the attempt told of."""
        told = [word.checkpoint for word in (self.progress, self.result) if word and word.checkpoint]
        return max(told, key=lambda checkpoint: checkpoint.step, default=None)


@dataclass(frozen=True)
class Observed:
    """All attempts that exist for a job."""

    attempts: tuple[ObservedAttempt, ...] = ()

    def child(self, name: str | None) -> ObservedAttempt | None:
        """Find the attempt of that name."""
        return next((attempt for attempt in self.attempts if attempt.child == name), None)
