"""What held-out rows said of a stage so far, and which of its checkpoints they prefer.

Floats read back to the bit, so that a resumed attempt prefers what the undisturbed one would have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Self

from llava_contract.result import CheckpointRef
from llava_trainer.storage import Storage
from llava_trainer.tracking.lines import read_lines, write_lines

__all__ = ["Validation", "Validations", "read_validations"]


@dataclass(frozen=True, slots=True)
class Validation:
    """The loss of all held-out rows after `step` optimizer steps: the mean over their labels.

    by_source: the same for each source, where there are several. checkpoint: what was saved at that step, if anything.
    """

    step: int
    loss: float
    by_source: Mapping[str, float] = field(default_factory=dict)
    checkpoint: CheckpointRef | None = None

    def to_json(self) -> str:
        """One line."""
        ref = self.checkpoint
        return json.dumps({**asdict(replace(self, checkpoint=None)), "checkpoint": ref and ref.model_dump(mode="json")})


@dataclass
class Validations:
    """All of them, oldest first."""

    storage: Storage
    stage: str
    rows: list[Validation] = field(default_factory=list)

    @classmethod
    def resume(cls, storage: Storage, stage: str, *, done_steps: int) -> Self:
        """Go on after `done_steps` steps of an earlier attempt."""
        earlier = read_validations(storage, stage) if done_steps else []
        return cls(storage, stage, [row for row in earlier if row.step <= done_steps])

    @property
    def best(self) -> Validation | None:
        """The earliest with the lowest loss."""
        return min(self.rows, key=lambda row: row.loss, default=None)

    @property
    def num_since_best(self) -> int:
        """How many have come since without a lower loss."""
        return len(self.rows) - 1 - self.rows.index(self.best) if self.best else 0

    def has(self, step: int) -> bool:
        """Whether a step was measured."""
        return any(row.step == step for row in self.rows)

    def add(self, row: Validation) -> None:
        """Note one."""
        self.rows.append(row)

    def saved(self, checkpoint: CheckpointRef) -> None:
        """Note where the state lies that was measured at the step of a checkpoint."""
        self.rows = [replace(row, checkpoint=checkpoint) if row.step == checkpoint.step else row for row in self.rows]

    def flush(self) -> None:
        """Write all of them."""
        write_lines(self.storage, _path(self.stage), (row.to_json() for row in self.rows))


def read_validations(storage: Storage, stage: str) -> list[Validation]:
    """Give those of a stage so far; none where nothing is held out."""
    return [_parse(**line) for line in read_lines(storage, _path(stage))]


def _parse(*, step: int, loss: float, by_source: dict[str, float], checkpoint: dict[str, object] | None) -> Validation:
    return Validation(step, loss, by_source, CheckpointRef.model_validate(checkpoint) if checkpoint else None)


def _path(stage: str) -> str:
    return f"logs/{stage}-validation.jsonl"
