"""What a report can say, as values: everything is optional, because a job may have stopped anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from llava_trainer.data.audit import Audit
from llava_trainer.report.samples import SampleAnswer
from llava_trainer.tracking.history import HistoryRow

__all__ = [
    "Curve", "JobStory", "Report", "ScoreLine", "ScoreTable", "SettingGroup", "SourceLoss", "StageAudit", "StageLine",
    "Unread",
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
class Curve:
    """The loss trace of a training stage."""

    stage: str
    rows: tuple[HistoryRow, ...]

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
