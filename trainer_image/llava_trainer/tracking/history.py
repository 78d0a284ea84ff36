"""The loss trace of a training stage: one JSON line per optimizer step, with floats that read back to the bit.

A resumed attempt keeps the lines up to its checkpoint and writes the later ones anew: no step is told twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Self

from llava_trainer.storage import Storage
from llava_trainer.tracking.lines import read_lines, write_lines

__all__ = ["History", "HistoryRow", "read_history"]


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One optimizer step, counted from 1; `loss` is the mean over `num_labels`, `seconds` its wall time.

    by_source: the mean over the labels of each source that the step had; empty for a single source.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    num_labels: int
    seconds: float
    by_source: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line; a single source leaves `by_source` out."""
        value = asdict(self)
        return json.dumps(value if self.by_source else {key: value[key] for key in value if key != "by_source"})


@dataclass
class History:
    """The trace while it grows; it reaches the storage whenever `flush` is called."""

    storage: Storage
    stage: str
    rows: list[HistoryRow] = field(default_factory=list)

    @classmethod
    def resume(cls, storage: Storage, stage: str, *, done_steps: int) -> Self:
        """Go on after `done_steps` steps of an earlier attempt."""
        earlier = read_history(storage, stage) if done_steps else []
        return cls(storage, stage, [row for row in earlier if row.step <= done_steps])

    def add(self, row: HistoryRow) -> None:
        """Note one step."""
        self.rows.append(row)

    def flush(self) -> None:
        """Write the whole trace."""
        write_lines(self.storage, _path(self.stage), (row.to_json() for row in self.rows))


def read_history(storage: Storage, stage: str) -> list[HistoryRow]:
    """The trace of a stage so far; empty when there is none yet."""
    return [HistoryRow(**line) for line in read_lines(storage, _path(stage))]


def _path(stage: str) -> str:
    return f"logs/{stage}-history.jsonl"
