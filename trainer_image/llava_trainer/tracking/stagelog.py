"""Logs of a training stage that grow with its steps: a JSON line a row, written whole with every checkpoint.

A resumed attempt keeps the rows up to its checkpoint and makes the later ones anew: no step is told twice.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from llava_trainer.storage import Storage

__all__ = ["LogRow", "StageLog"]


class LogRow(Protocol):
    """One line."""

    @property
    def step(self) -> int:
        """Optimizer steps that were done when it was written."""
        ...

    def to_json(self) -> str:
        """The line."""
        ...


Row = TypeVar("Row", bound=LogRow)


@dataclass
class StageLog(ABC, Generic[Row]):
    """`logs/<stage>-<NAME>.jsonl`, oldest row first; it reaches the storage when `flush` is called."""

    NAME: ClassVar[str]

    storage: Storage
    stage: str
    rows: list[Row] = field(default_factory=list)

    @classmethod
    @abstractmethod
    def parse(cls, line: dict[str, Any]) -> Row:
        """Read what `to_json` wrote."""

    @classmethod
    def read(cls, storage: Storage, stage: str) -> list[Row]:
        """Give the rows of a stage so far; none when there is no such log."""
        path = cls(storage, stage).path
        lines = storage.read(path).decode().splitlines() if storage.exists(path) else []
        return [cls.parse(json.loads(line)) for line in lines]

    @classmethod
    def resume(cls, storage: Storage, stage: str, *, done_steps: int) -> Self:
        """Go on after `done_steps` steps of an earlier attempt."""
        earlier = cls.read(storage, stage) if done_steps else []
        return cls(storage, stage, [row for row in earlier if row.step <= done_steps])

    @property
    def path(self) -> str:
        """Where it lies in the job's storage."""
        return f"logs/{self.stage}-{self.NAME}.jsonl"

    def has(self, step: int) -> bool:
        """Whether there is a row of that step."""
        return any(row.step == step for row in self.rows)

    def add(self, row: Row) -> None:
        """Note one row."""
        self.rows.append(row)

    def flush(self) -> None:
        """Write all rows."""
        self.storage.write(self.path, "".join(f"{row.to_json()}\n" for row in self.rows).encode())
