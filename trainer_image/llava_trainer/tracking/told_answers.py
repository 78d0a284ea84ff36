"""What the model said while it trained, to prompts that never change."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Self

from llava_trainer.storage import Storage
from llava_trainer.tracking.lines import read_lines, write_lines

__all__ = ["ToldAnswer", "ToldAnswers", "read_told_answers"]


@dataclass(frozen=True, slots=True)
class ToldAnswer:
    """An answer after `step` optimizer steps; `image` names the picture that it was about."""

    step: int
    prompt: str
    image: str
    answer: str


@dataclass
class ToldAnswers:
    """All of them, oldest first."""

    storage: Storage
    stage: str
    rows: list[ToldAnswer] = field(default_factory=list)

    @classmethod
    def resume(cls, storage: Storage, stage: str, *, done_steps: int) -> Self:
        """Go on after `done_steps` steps of an earlier attempt."""
        earlier = read_told_answers(storage, stage) if done_steps else []
        return cls(storage, stage, [row for row in earlier if row.step <= done_steps])

    def has(self, step: int) -> bool:
        """Whether the model was asked after that step."""
        return any(row.step == step for row in self.rows)

    def add(self, row: ToldAnswer) -> None:
        """Note one."""
        self.rows.append(row)

    def flush(self) -> None:
        """Write all of them."""
        lines = (json.dumps(asdict(row), ensure_ascii=False) for row in self.rows)
        write_lines(self.storage, _path(self.stage), lines)


def read_told_answers(storage: Storage, stage: str) -> list[ToldAnswer]:
    """Give those of a stage so far; none where nobody asks."""
    return [ToldAnswer(**line) for line in read_lines(storage, _path(stage))]


def _path(stage: str) -> str:
    return f"logs/{stage}-answers.jsonl"
