"""The loss trace of a training stage: one JSON line per optimizer step, with floats that read back to the bit.

A resumed attempt keeps the lines up to its checkpoint and writes the later ones anew: no step is told twice.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Self

from llava_trainer.storage import Storage

__all__ = ["History", "HistoryRow", "read_history"]


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One optimizer step, counted from 1; `loss` is the mean over `num_labels`, `seconds` its wall time."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    num_labels: int
    seconds: float


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
        self.storage.write(_path(self.stage), "".join(f"{json.dumps(asdict(row))}\n" for row in self.rows).encode())


def read_history(storage: Storage, stage: str) -> list[HistoryRow]:
    """The trace of a stage so far; empty when there is none yet."""
    if not storage.exists(_path(stage)):
        return []
    return [HistoryRow(**json.loads(line)) for line in storage.read(_path(stage)).decode().splitlines()]


def _path(stage: str) -> str:
    return f"logs/{stage}-history.jsonl"
