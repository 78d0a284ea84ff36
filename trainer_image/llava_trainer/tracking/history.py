"""The loss trace of a training stage: one row per optimizer step, with floats that read back to the bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from llava_trainer.tracking.stagelog import StageLog

__all__ = ["History", "HistoryRow"]


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


class History(StageLog[HistoryRow]):
    """Every optimizer step."""

    NAME = "history"

    @classmethod
    def parse(cls, line: dict[str, Any]) -> HistoryRow:
        """Read one row."""
        return HistoryRow(**line)
