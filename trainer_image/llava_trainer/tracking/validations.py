"""What held-out rows said of a stage so far, and which of its checkpoints they prefer.

Floats read back to the bit, so that a resumed attempt prefers what the undisturbed one would have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from llava_contract.result import CheckpointRef
from llava_trainer.tracking.stagelog import StageLog

__all__ = ["Validation", "Validations"]


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


class Validations(StageLog[Validation]):
    """All of a stage."""

    NAME = "validation"

    @classmethod
    def parse(cls, line: dict[str, Any]) -> Validation:
        """Read one row."""
        ref = line["checkpoint"]
        return Validation(**{**line, "checkpoint": CheckpointRef.model_validate(ref) if ref else None})

    @property
    def best(self) -> Validation | None:
        """The earliest with the lowest loss."""
        return min(self.rows, key=lambda row: row.loss, default=None)

    @property
    def num_since_best(self) -> int:
        """How many have come since without a lower loss."""
        return len(self.rows) - 1 - self.rows.index(self.best) if self.best else 0

    def saved(self, checkpoint: CheckpointRef) -> None:
        """Note where the state lies that was measured at the step of a checkpoint."""
        self.rows = [replace(row, checkpoint=checkpoint) if row.step == checkpoint.step else row for row in self.rows]
