"""The nouns of what exists: attempts with their state, evidence and live members, as a backend saw them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from llava_contract.result import CheckpointRef, Progress, StageResult
from llava_contract.run import Stage

__all__ = ["AttemptState", "Observed", "ObservedAttempt"]


class AttemptState(StrEnum):
    """Where an attempt stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class ObservedAttempt:
    """One attempt; `members` are the processes or pods of it that are still alive, even after it ended."""

    child: str
    stage: Stage
    attempt: int
    state: AttemptState
    exit_code: int | None = None
    result: StageResult | None = None
    progress: Progress | None = None
    members: tuple[str, ...] = ()

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
