"""The closed list of what can be decided about a job, and the situation that a decision is made from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from llava_contract.causes import Cause
from llava_contract.result import StageResult
from llava_contract.run import Stage
from llava_contract.v1alpha1.status import AttemptRecord, JobStatus, StageState, StageStatus
from llava_operator.core.observe import Observed, ObservedAttempt
from llava_operator.core.plan import Plan, StagePlan

__all__ = [
    "Decision", "Fail", "FinishStage", "Rest", "RestartStage", "Situation", "StartAttempt", "StopAttempt", "Succeed",
    "Suspend", "Wait",
]  # fmt: skip


@dataclass(frozen=True)
class StartAttempt:
    """Start this attempt; starting one that exists changes nothing."""

    stage: StagePlan
    attempt: int
    child: str


@dataclass(frozen=True)
class StopAttempt:
    """End whatever is alive of an attempt that status does not want."""

    child: str


@dataclass(frozen=True)
class RestartStage:
    """Record a failed attempt and end what is left of it; another attempt follows."""

    stage: Stage
    child: str
    failed: AttemptRecord


@dataclass(frozen=True)
class FinishStage:
    """Record a stage's success and what it made."""

    stage: Stage
    result: StageResult


@dataclass(frozen=True)
class Suspend:
    """Stop working and keep the checkpoints."""

    child: str | None


@dataclass(frozen=True)
class Succeed:
    """All stages are done."""


@dataclass(frozen=True)
class Fail:
    """Give up, and say why."""

    cause: Cause
    message: str
    child: str | None = None
    failed: AttemptRecord | None = None


@dataclass(frozen=True)
class Wait:
    """Nothing to do before something changes or, if given, before this time."""

    until: datetime | None = None


@dataclass(frozen=True)
class Rest:
    """Nothing to do at all: the job is over or suspended, and nothing of it is alive."""


Decision = StartAttempt | StopAttempt | RestartStage | FinishStage | Suspend | Succeed | Fail | Wait | Rest


@dataclass(frozen=True)
class Situation:
    """All that a policy may look at; status already holds what was just observed."""

    plan: Plan
    status: JobStatus
    observed: Observed
    now: datetime

    @property
    def stage_plan(self) -> StagePlan | None:
        """The first stage that has not succeeded; None when all have."""
        done = {stage.name for stage in self.status.stages if stage.state is StageState.SUCCEEDED}
        return next((planned for planned in self.plan.stages if planned.stage not in done), None)

    @property
    def stage(self) -> StageStatus | None:
        """Status of that stage."""
        planned = self.stage_plan
        return self.status.stage(planned.stage) if planned else None

    @property
    def attempt(self) -> ObservedAttempt | None:
        """The stage's latest attempt, if it exists."""
        return self.observed.child(self.stage.job_name) if self.stage else None

    @property
    def wanted_child(self) -> str | None:
        """Name of the one attempt that may be alive; None when none may."""
        stage = self.stage
        return stage.job_name if stage and stage.state.is_active else None
