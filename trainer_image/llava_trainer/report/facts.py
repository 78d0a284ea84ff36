"""What a report can say, as values: everything is optional, because a job may have stopped anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Final

from llava_trainer.data.audit import Audit
from llava_trainer.report.samples import SampleAnswer
from llava_trainer.tracking.history import HistoryRow
from llava_trainer.tracking.told_answers import ToldAnswer
from llava_trainer.tracking.validations import Validation

__all__ = [
    "Curve", "JobStory", "Report", "ScoreLine", "ScoreTable", "SettingGroup", "SourceLoss", "StageAudit", "StageLine",
    "Talk", "Unread",
]  # fmt: skip


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
class SourceLoss:
    """The loss of one source's labels in the steps that had some."""

    name: str
    num_steps: int
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Talk:
    """What the model answered to one prompt about one image as it learnt: (step, answer), first to last."""

    prompt: str
    image: str
    answers: tuple[tuple[int, str], ...]


_SHOWN: Final = 6
"""Moments of a talk on the page; the stage's log has all."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The loss trace of a training stage, what its held-out rows said, and what the model answered meanwhile."""

    stage: str
    rows: tuple[HistoryRow, ...]
    validations: tuple[Validation, ...] = ()
    told: tuple[ToldAnswer, ...] = ()

    @property
    def best(self) -> Validation | None:
        """The lowest loss of the held-out rows."""
        return min(self.validations, key=lambda row: row.loss, default=None)

    @property
    def talks(self) -> tuple[Talk, ...]:
        """Each prompt with its answers at a few moments, the first and the last among them."""
        pairs = dict.fromkeys((told.prompt, told.image) for told in self.told)
        return tuple(self._talk(prompt, image) for prompt, image in pairs)

    def _talk(self, prompt: str, image: str) -> Talk:
        told = [(one.step, one.answer) for one in self.told if (one.prompt, one.image) == (prompt, image)]
        shown = sorted({round(i * (len(told) - 1) / (_SHOWN - 1)) for i in range(_SHOWN)})
        return Talk(prompt, image, tuple(told[i] for i in shown))

    @property
    def sources(self) -> tuple[SourceLoss, ...]:
        """How each source fared, where there are several: its mean loss over the first and last tenth of its steps."""
        names = dict.fromkeys(name for row in self.rows for name in row.by_source)
        return tuple(self._source(name) for name in names)

    def _source(self, name: str) -> SourceLoss:
        losses = [row.by_source[name] for row in self.rows if name in row.by_source]
        tenth = max(1, len(losses) // 10)
        return SourceLoss(name, len(losses), fmean(losses[:tenth]), fmean(losses[-tenth:]))


@dataclass(frozen=True, slots=True)
class StageAudit:
    """What prepare found in the data of a stage."""

    stage: str
    audit: Audit


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


@dataclass(frozen=True, slots=True)
class SettingGroup:
    """The settings of one stage or part of the job, as (dotted name, value)."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Unread:
    """A source that is there and cannot be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobStory:
    """How the job went, by whichever file tells it; what nobody told is empty."""

    name: str
    phase: str
    message: str
    facts: tuple[tuple[str, str], ...]
    stages: tuple[StageLine, ...]
    settings: tuple[SettingGroup, ...]


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
    settings: tuple[SettingGroup, ...] = ()
    unread: tuple[Unread, ...] = ()
