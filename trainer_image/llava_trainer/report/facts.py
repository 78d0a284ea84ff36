"""What a report can say, as values: everything is optional, because a job may have stopped anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from llava_trainer.data.audit import Audit
from llava_trainer.tracking.history import HistoryRow

__all__ = ["Curve", "Report", "SampleAnswer", "ScoreLine", "ScoreTable", "StageAudit", "StageLine"]


@dataclass(frozen=True, slots=True)
class StageLine:
    """One row of the stage table; seconds are those of the attempt that succeeded, None where nobody told."""

    name: str
    state: str
    attempt: int
    restarts: int
    import_s: float | None
    work_s: float | None
    message: str


@dataclass(frozen=True, slots=True)
class Curve:
    """The loss trace of a training stage."""

    stage: str
    rows: tuple[HistoryRow, ...]


@dataclass(frozen=True, slots=True)
class StageAudit:
    """What prepare found in the data of a stage."""

    stage: str
    audit: Audit


@dataclass(frozen=True, slots=True)
class SampleAnswer:
    """A question, its picture (base64 of the file) and what the model said."""

    benchmark: str
    question: str
    options: tuple[tuple[str, str], ...]
    answer: str | None
    prediction: str
    image: str

    @property
    def is_right(self) -> bool | None:
        """Whether the model said the letter or the text of the right option, plainly; None where nobody knows it."""
        if self.answer is None:
            return None
        said = self.prediction.strip().rstrip(".").casefold()
        return said in (self.answer.casefold(), dict(self.options).get(self.answer, self.answer).strip().casefold())


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """One line of a score table: accuracies as fractions, one a rule."""

    label: str
    fractions: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """A benchmark under several rules; `sections` are (title, lines), the first one holds the overall numbers."""

    benchmark: str
    num_rows: int
    num_questions: int
    rules: tuple[str, ...]
    sections: tuple[tuple[str, tuple[ScoreLine, ...]], ...]
    note: str


@dataclass(frozen=True)
class Report:
    """Everything on the page, in its order."""

    name: str
    phase: str
    message: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    scores: tuple[ScoreTable, ...] = ()
    stages: tuple[StageLine, ...] = ()
    curves: tuple[Curve, ...] = ()
    audits: tuple[StageAudit, ...] = ()
    samples: tuple[SampleAnswer, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
