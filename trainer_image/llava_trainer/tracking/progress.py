"""How rank 0 tells whoever watches where a stage stands: one small JSON file, replaced whole, at most once a second.

The launcher and the operator read it; it outlives a rank that dies without a word, so it is also the last evidence of
which checkpoint was committed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from llava_contract.result import PROGRESS_FILE_ENV, CheckpointRef, Progress
from llava_trainer.ranks import StopFlag

__all__ = ["Measured", "ProgressWriter", "StageContext"]

_INTERVAL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What a training step measured; other stages have none of it."""

    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    samples_per_second: float | None = None
    tokens_per_second: float | None = None
    memory_bytes: int | None = None
    validation_loss: float | None = None
    source_losses: Mapping[str, float] = field(default_factory=dict)


@dataclass
class ProgressWriter:
    """Writes Progress to `path`; None = to nobody, as on ranks other than 0.

    A report is written when a second has passed since the last one, at a stage's first and last step, and when a
    checkpoint was committed.
    """

    path: Path | None
    stage: str
    attempt: int
    _written_at: float = field(default=float("-inf"), init=False)
    _begun: tuple[float, int] | None = field(default=None, init=False)
    _checkpoint: CheckpointRef | None = field(default=None, init=False)
    _last: Progress | None = field(default=None, init=False)

    @classmethod
    def from_environment(cls, stage: str, attempt: int, *, rank: int) -> ProgressWriter:
        """Write where LLAVA_PROGRESS_FILE says, on rank 0 alone."""
        path = os.environ.get(PROGRESS_FILE_ENV)
        return cls(Path(path) if path and rank == 0 else None, stage, attempt)

    def report(self, step: int, total_steps: int, *, unit: str = "step", measured: Measured | None = None) -> None:
        """Say that `step` of `total_steps` units are done; the time left follows from this process's own pace."""
        now = time.monotonic()
        self._begun = self._begun or (now, step)
        measured = measured or Measured()
        self._last = Progress(
            stage=self.stage,
            attempt=self.attempt,
            step=step,
            total_steps=total_steps,
            unit=unit,
            loss=measured.loss,
            learning_rate=measured.learning_rate,
            grad_norm=measured.grad_norm,
            samples_per_second=measured.samples_per_second,
            tokens_per_second=measured.tokens_per_second,
            memory_bytes=measured.memory_bytes,
            validation_loss=measured.validation_loss,
            source_losses=dict(measured.source_losses),
            eta_seconds=self._eta_s(now, step, total_steps),
            checkpoint=self._checkpoint,
            time=datetime.now(UTC),
        )
        if now - self._written_at >= _INTERVAL_S or step >= total_steps:
            self._write(now)

    def committed(self, checkpoint: CheckpointRef) -> None:
        """Say at once that a checkpoint is committed."""
        self._checkpoint = checkpoint
        if self._last is not None:
            self._last = self._last.model_copy(update={"checkpoint": checkpoint, "time": datetime.now(UTC)})
            self._write(time.monotonic())

    def _eta_s(self, now: float, step: int, total_steps: int) -> float | None:
        assert self._begun is not None
        begun_at, first_step = self._begun
        return (now - begun_at) / (step - first_step) * (total_steps - step) if step > first_step else None

    def _write(self, now: float) -> None:
        self._written_at = now
        if self.path is None or self._last is None:
            return
        draft = self.path.with_name(f".{self.path.name}-{os.getpid()}")
        draft.write_text(self._last.model_dump_json(), encoding="utf-8")
        draft.replace(self.path)


@dataclass(frozen=True, slots=True)
class StageContext:
    """What a stage is given beside its configuration."""

    rank: int
    world_size: int
    progress: ProgressWriter
    stop: StopFlag
