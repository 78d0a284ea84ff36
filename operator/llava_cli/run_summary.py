"""What `llava run` says when it is over: scores under both rules, where report and model are, seconds per stage."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from llava_contract.result import Artifact
from llava_contract.v1alpha1.status import JobStatus, StageStatus
from llava_operator.errors import Unsupported
from llava_operator.local_spec import local_path

__all__ = ["RunSummary", "StageTime", "summarise"]

_RULES = {"xtuner": "XTuner", "vlmevalkit": "VLMEvalKit"}
_MEASURES = {"circular": "all rotations right", "vanilla": "single rows"}


@dataclass(frozen=True)
class ScoreTable:
    """Accuracies of one benchmark: a fraction, or None, for each line and rule."""

    title: str
    lines: dict[str, tuple[float | None, ...]]

    def to_rich(self) -> Table:
        """Lay it out in per cent."""
        table = Table("Accuracy (%)", title=self.title)
        for rule in _RULES.values():
            table.add_column(rule, justify="right")
        for label, fractions in self.lines.items():
            table.add_row(label, *("-" if fraction is None else f"{100 * fraction:.1f}" for fraction in fractions))
        return table


@dataclass(frozen=True)
class StageTime:
    """Seconds that a stage took, from its first attempt to its end, and where its last attempt spent them."""

    name: str
    total_s: float
    import_s: float | None
    work_s: float | None
    num_attempts: int


@dataclass(frozen=True)
class RunSummary:
    """The end of a run; `report` and `model` are paths or s3:// URIs, None where there is no such file."""

    results: dict[str, float]
    scores: tuple[ScoreTable, ...]
    report: str | None
    model: str | None
    stages: tuple[StageTime, ...]
    restarts: int

    def to_json(self) -> dict[str, Any]:
        """Give the summary as JSON values."""
        return {
            "scores": self.results,
            "report": self.report,
            "model": self.model,
            "seconds": {time.name: round(time.total_s, 1) for time in self.stages},
            "restarts": self.restarts,
        }

    def to_tables(self) -> list[Table]:
        """Lay out scores, if there are any, and seconds."""
        tables = [*(score.to_rich() for score in self.scores), self._times()]
        return [table for table in tables if table.row_count]

    def to_lines(self) -> list[str]:
        """Say where things are."""
        places = {"report": self.report, "model": self.model}
        return [f"{name}: {path}" for name, path in places.items() if path]

    def _times(self) -> Table:
        table = Table("Stage", title="Seconds")
        for heading in ("in all", "import", "work", "attempts"):
            table.add_column(heading, justify="right")
        for time in self.stages:
            table.add_row(time.name, *map(_seconds, (time.total_s, time.import_s, time.work_s)), str(time.num_attempts))
        return table


def summarise(status: JobStatus, folder: Path) -> RunSummary:
    """Read a summary off a status; `folder` is the job's, where a report may lie that no stage lived to tell of."""
    return RunSummary(
        results=status.results,
        scores=_score_tables(_existing(status.artifacts.get(Artifact.SCORES)), status.results),
        report=_place(status.artifacts.get(Artifact.REPORT) or str(folder / "reports" / "report.html")),
        model=_place(status.artifacts.get(Artifact.HUGGINGFACE)),
        stages=tuple(time for stage in status.stages if (time := _stage_time(stage))),
        restarts=status.restarts,
    )


def _score_tables(file: Path | None, results: dict[str, float]) -> tuple[ScoreTable, ...]:
    """Take the tables from the evaluation's own file; where it is not to be had, from the results in status."""
    try:
        content = json.loads(file.read_bytes()) if file else []
        return tuple(map(_benchmark_table, content if isinstance(content, list) else [content])) or _bare_tables(
            results
        )
    except (OSError, ValueError, KeyError, TypeError):
        return _bare_tables(results)


def _benchmark_table(content: dict[str, Any]) -> ScoreTable:
    """Read one benchmark as `ScoreReport.to_json` writes it."""
    rules = [content["rules"][rule] for rule in _RULES]
    abilities = "l2_category" if rules[0]["l2_category"] else "category"
    return ScoreTable(
        f"{content['benchmark']}: {content['questions']} questions in {content['rows']} rows",
        {
            _MEASURES["circular"]: tuple(rule["circular"] for rule in rules),
            **{f"  {name}": tuple(rule[abilities].get(name) for rule in rules) for name in rules[0][abilities]},
            _MEASURES["vanilla"]: tuple(rule["vanilla"] for rule in rules),
        },
    )


def _bare_tables(results: dict[str, float]) -> tuple[ScoreTable, ...]:
    benchmarks = dict.fromkeys(name.rsplit("/", 2)[0] for name in results)
    return tuple(
        ScoreTable(
            benchmark,
            {
                label: tuple(results.get(f"{benchmark}/{rule}/{name}") for rule in _RULES)
                for name, label in _MEASURES.items()
            },
        )
        for benchmark in benchmarks
    )


def _place(uri: str | None) -> str | None:
    """Name a place of this machine if it exists, and one in a bucket unseen."""
    if uri and uri.startswith("s3://"):
        return uri
    path = _existing(uri)
    return str(path) if path else None


def _existing(uri: str | None) -> Path | None:
    try:
        path = local_path(uri) if uri else None
    except Unsupported:
        return None
    return path if path and path.exists() else None


def _stage_time(stage: StageStatus) -> StageTime | None:
    if stage.start_time is None or stage.completion_time is None:
        return None
    total_s = (stage.completion_time - stage.start_time).total_seconds()
    return StageTime(stage.name, total_s, stage.seconds.get("import"), stage.seconds.get("work"), stage.attempt)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
