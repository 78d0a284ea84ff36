"""What the model said while it trained, to prompts that never change."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from llava_trainer.tracking.stagelog import StageLog

__all__ = ["ToldAnswer", "ToldAnswers"]


@dataclass(frozen=True, slots=True)
class ToldAnswer:
    """An answer after `step` optimizer steps; `image` names the picture that it was about."""

    step: int
    prompt: str
    image: str
    answer: str

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)


class ToldAnswers(StageLog[ToldAnswer]):
    """All of a stage."""

    NAME = "answers"

    @classmethod
    def parse(cls, line: dict[str, Any]) -> ToldAnswer:
        """Read one row."""
        return ToldAnswer(**line)
