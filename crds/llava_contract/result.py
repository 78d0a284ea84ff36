"""What a stage says back: Progress while it runs, StageResult when it ends."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from llava_contract.schema import Schema, Uri

__all__ = ["Artifact", "CheckpointRef", "Progress", "StageResult"]

MAX_RESULT_BYTES = 4096
"""A container's termination message holds no more."""


class Artifact(StrEnum):
    """Names of what stages make; the keys of status.artifacts."""

    PRETRAIN_DATA = "pretrainData"
    FINETUNE_DATA = "finetuneData"
    AUDIT = "audit"
    PRETRAIN_WEIGHTS = "pretrainWeights"
    FINETUNE_WEIGHTS = "finetuneWeights"
    HUGGINGFACE = "huggingface"
    SCORES = "scores"
    REPORT = "report"


class CheckpointRef(Schema):
    """A committed checkpoint."""

    uri: Uri
    """Folder of the checkpoint."""
    step: Annotated[int, Field(ge=0)]
    """Optimizer steps done when it was taken."""
    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of its MANIFEST.json."""


class Progress(Schema):
    """A moment of a running stage, as rank 0 sees it."""

    stage: str
    attempt: int
    step: Annotated[int, Field(ge=0)]
    total_steps: Annotated[int, Field(ge=0)]
    unit: str = "step"
    """What a step is: optimizer steps, rows, tensors or questions."""
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    samples_per_second: float | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None
    checkpoint: CheckpointRef | None = None
    time: datetime
    """When this was true."""


class StageResult(Schema):
    """How an attempt ended; written once, by the launcher, of at most 4,096 bytes."""

    version: Literal["v1alpha1"] = "v1alpha1"
    stage: str
    attempt: int
    exit_code: int
    reason: str
    """Name of the cause."""
    message: str = ""
    """The sentence that the user reads."""
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    checkpoint: CheckpointRef | None = None
    artifacts: dict[str, Uri] = {}
    """Artifact name to URI."""
    results: dict[str, float] = {}
    """Scores as fractions: `<benchmark>/<rule>/circular` and `<benchmark>/<rule>/vanilla`."""
    seconds: dict[str, float] = {}
    """`import` and `work`."""
