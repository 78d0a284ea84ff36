"""What a stage says back: Progress while it runs, StageResult when it ends."""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from llava_contract.schema import Schema, Uri

__all__ = [
    "MAX_RESULT_BYTES", "PROGRESS_FILE_ENV", "PROGRESS_PORT", "PROGRESS_PORT_ENV", "PROGRESS_UID_HEADER",
    "RESULT_FILE_ENV", "Artifact", "CheckpointRef", "Progress", "StageResult",
]  # fmt: skip

PROGRESS_FILE_ENV = "LLAVA_PROGRESS_FILE"
"""Names the file in which rank 0 keeps its Progress; without it nobody is told."""

PROGRESS_PORT = 8081
"""Where the first pod of a gang serves its Progress as `/progress`."""

PROGRESS_PORT_ENV = "LLAVA_PROGRESS_PORT"
"""Tells the launcher of a pod the port; without it nothing is served."""

PROGRESS_UID_HEADER = "Llava-Job-Uid"
"""Says in an answer to `/progress` whose it is: a pod's address may belong to another job a moment later."""

RESULT_FILE_ENV = "LLAVA_RESULT_FILE"
"""Names the file into which the launcher writes the StageResult; without it that is the container's message."""

MAX_RESULT_BYTES = 4096
"""A container's termination message holds no more."""

MIN_SENTENCE = 200
"""Characters of a sentence that are worth more than results, seconds and artifacts, which storage holds as well."""


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
    source_losses: dict[str, float] = Field(default_factory=dict)
    """The latest loss of each source by its name, where a stage has several."""
    validation_loss: float | None = None
    """The latest loss of held-out rows."""
    learning_rate: float | None = None
    grad_norm: float | None = None
    samples_per_second: float | None = None
    """Rows a second over all ranks."""
    tokens_per_second: float | None = None
    """Positions of the LLM a second over all ranks, patches of images included."""
    memory_bytes: int | None = None
    """The most that any rank has held at once: of its GPU's memory, or of the host's on a CPU."""
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
    artifacts: dict[str, Uri] = Field(default_factory=dict)
    """Artifact name to URI."""
    results: dict[str, float] = Field(default_factory=dict)
    """Scores as fractions: `<benchmark>/<rule>/circular` and `<benchmark>/<rule>/vanilla`."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """`import` and `work`."""

    def to_message(self, pointer: str = "the log") -> bytes:
        """The result as JSON in UTF-8, of at most MAX_RESULT_BYTES.

        What is too long loses the tail of its sentence, then results, seconds and artifacts, in this order; the
        sentence then ends with where the whole result is (`pointer`: a file, a URI or the log). The JSON stays valid
        and no character is cut in two. Raises ValueError when the fields that are never dropped do not fit.
        """
        kept = self.model_copy(update={"message": self.message.encode(errors="replace").decode()})
        if len(whole := kept._encode()) <= MAX_RESULT_BYTES:
            return whole
        tail = f"... (cut; the whole result is in {pointer})"
        for dropped in ("", "results", "seconds", "artifacts"):
            kept = kept.model_copy(update={dropped: {}} if dropped else {})
            if (cut := kept._cut_to_fit(tail)) is not None:
                return cut
        raise ValueError(
            f"a result of stage {self.stage} does not fit into {MAX_RESULT_BYTES} bytes: shorten its checkpoint URI"
        )

    def _encode(self) -> bytes:
        return self.model_dump_json(exclude_none=True).encode()

    def _cut_to_fit(self, tail: str) -> bytes | None:
        """With the longest head of the sentence that fits; None when that would be less than a sentence."""

        def with_head(num_characters: int) -> bytes:
            return self.model_copy(update={"message": self.message[:num_characters] + tail})._encode()

        lengths = range(min(len(self.message), MIN_SENTENCE), len(self.message) + 1)
        num_fitting = bisect_right(lengths, MAX_RESULT_BYTES, key=lambda n: len(with_head(n)))
        return with_head(lengths[num_fitting - 1]) if num_fitting else None
