"""What `kubectl get llavatrainjobs` says: the operator writes it, nobody else."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from math import isfinite
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from llava_contract.result import CheckpointRef
from llava_contract.schema import Schema, list_map, unique_by

__all__ = [
    "AttemptRecord",
    "Condition",
    "ConditionStatus",
    "GivenModel",
    "JobStatus",
    "Phase",
    "ProgressStatus",
    "StageState",
    "StageStatus",
    "WaitingStatus",
]


MAX_HISTORY: Final = 50
"""Ended attempts that a stage remembers; older ones are forgotten, so that the object stays small."""


def _readable(number: Any) -> Any:
    """Keep four decimals, which the LOSS column prints as they are; JSON has no NaN, so that becomes nothing."""
    if isinstance(number, float):
        return round(number, 4) if isfinite(number) else None
    return number


def _newest(history: Any) -> Any:
    return history[-MAX_HISTORY:] if isinstance(history, (list, tuple)) else history


ReadableNumber = Annotated[float | None, BeforeValidator(_readable)]
"""A number that a table prints as it is."""


class Phase(StrEnum):
    """The one word for where a job stands."""

    PENDING = "Pending"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class StageState(StrEnum):
    """Where one stage stands."""

    WAITING = "Waiting"
    STARTING = "Starting"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def is_active(self) -> bool:
        """Whether status wants the stage's attempt to be alive."""
        return self in (StageState.STARTING, StageState.RUNNING)


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Schema):
    """One claim about the job in the shape that every Kubernetes tool reads."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """What the condition is about."""
    status: ConditionStatus
    """True, False or Unknown."""
    observed_generation: Annotated[int, Field(ge=0)]
    """Generation of the spec that the condition speaks of."""
    last_transition_time: datetime
    """When the status last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """One CamelCase word for programs."""
    message: Annotated[str, Field(max_length=32_768)]
    """A sentence for people."""


class ProgressStatus(Schema):
    """How far the running stage is."""

    summary: str
    """Steps done and steps in all, such as 3120/5198."""
    step: int
    """Optimizer steps done."""
    total_steps: int
    """Optimizer steps in all."""
    loss: ReadableNumber = None
    """Latest training loss, to four decimals."""
    samples_per_second: ReadableNumber = None
    """Training throughput over all ranks."""
    eta: str | None = None
    """Time left, such as 2h10."""


class AttemptRecord(Schema):
    """What became of one attempt at a stage."""

    attempt: int
    """1 for the first."""
    exit_code: int
    """Code the attempt ended with; see the failure catalogue."""
    reason: str
    """Name of the cause."""
    message: str = ""
    """The sentence of the failure."""
    checkpoint_step: int | None = None
    """Step of the newest checkpoint when the attempt ended."""
    charged: bool = False
    """Whether the restart that followed was charged."""


class WaitingStatus(Schema):
    """What an attempt waits for that does not start."""

    reason: str
    """One CamelCase word for programs."""
    message: str
    """A sentence for people."""
    since: datetime
    """Since when it has waited for this."""
    time: datetime
    """When the sentence was last brought up to date; numbers in it may be half a minute old."""
    holding_since: datetime | None = None
    """Since when some of its pods have held their nodes while others cannot start; null when none does."""


class StageStatus(Schema):
    """One stage of the job."""

    name: str
    """prepare, pretrain, finetune, convert or evaluate."""
    state: StageState = StageState.WAITING
    """Where the stage stands."""
    attempt: int = 0
    """Number of the current attempt; 0 before the first."""
    restarts: int = 0
    """Attempts after the first, whatever the reason."""
    job_name: str | None = None
    """Name of the attempt's child."""
    spec_digest: str | None = None
    """Digest of the part of the spec that the current attempt was made from."""
    pods: Annotated[list[str], Field(max_length=512)] = Field(default_factory=list)
    """UIDs of the attempt's pods since all of them ran; one that is gone or another is a lost rank."""
    start_time: datetime | None = None
    """When the first attempt started."""
    completion_time: datetime | None = None
    """When the stage ended."""
    checkpoint: CheckpointRef | None = None
    """Newest committed checkpoint."""
    message: str = ""
    """What the stage last said."""
    waiting: WaitingStatus | None = None
    """What the current attempt waits for; null once all its pods run."""
    history: Annotated[list[AttemptRecord], Field(max_length=MAX_HISTORY), BeforeValidator(_newest)] = Field(
        default_factory=list
    )
    """Attempts that ended without success, newest last; the oldest are forgotten."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """Seconds spent by kind (import, work), from the stage's result."""


class GivenModel(Schema):
    """A model that another job made, and how it is reached; kept even if that job goes."""

    train_job_name: str | None = None
    """The LlavaTrainJob that made it; absent where the spec names a uri."""
    uri: str
    """The exported model."""
    endpoint: str | None = None
    """URL of the S3-compatible server that holds it."""
    region: str | None = None
    """Region of its bucket."""
    path_style: bool = False
    """Whether the bucket goes into the path."""
    credentials_secret_name: str | None = None
    """Secret with which it is read."""


class JobStatus(Schema):
    """The whole status."""

    phase: Phase = Phase.PENDING
    """The one word."""
    observed_generation: int = 0
    """Generation of the spec that this status speaks of."""
    current_stage: str | None = None
    """The stage being worked on."""
    restarts: int = 0
    """Restarts over all stages."""
    budget_used: int = 0
    """Charged restarts."""
    score: str | None = None
    """Circular accuracy of the first benchmark under VLMEvalKit's rule, in per cent."""
    start_time: datetime | None = None
    """When the first attempt started."""
    completion_time: datetime | None = None
    """When the job ended."""
    progress: ProgressStatus | None = None
    """How far the running stage is."""
    stages: Annotated[list[StageStatus], Field(max_length=8, json_schema_extra=list_map("name")), unique_by("name")] = (
        Field(default_factory=list)
    )
    """Each stage in order."""
    conditions: Annotated[
        list[Condition], Field(max_length=16, json_schema_extra=list_map("type")), unique_by("type")
    ] = Field(default_factory=list)
    """Claims about the job by type, for programs that wait."""
    model: GivenModel | None = None
    """The model that an evaluation scores or a training starts from, once it is known."""
    artifacts: dict[str, str] = Field(default_factory=dict)
    """What the stages made: name to URI."""
    results: dict[str, float] = Field(default_factory=dict)
    """Scores by benchmark and rule."""

    def stage(self, name: str | None) -> StageStatus | None:
        """Find a stage by name; None for one that was never looked at."""
        return next((stage for stage in self.stages if stage.name == name), None)
