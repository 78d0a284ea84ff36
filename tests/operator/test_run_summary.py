"""What is said at the end of a run."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from llava_cli.run_summary import summarise
from llava_contract.v1alpha1.status import JobStatus
from support.jobs import job

RESULTS = {"shapes/xtuner/circular": 0.5, "shapes/vlmevalkit/circular": 0.625, "shapes/vlmevalkit/vanilla": 0.75}


def rule(circular: float) -> dict[str, Any]:
    return {"circular": circular, "vanilla": 1.0, "l2_category": {"AR": 0.25}, "category": {}}


def shapes() -> dict[str, Any]:
    return {
        "benchmark": "shapes",
        "rows": 400,
        "questions": 100,
        "rules": {"xtuner": rule(0.5), "vlmevalkit": rule(0.9)},
    }


def printed(status: JobStatus, folder: Path) -> str:
    out = io.StringIO()
    for table in summarise(status, folder).to_tables():
        Console(file=out, width=100).print(table)
    return out.getvalue()


def ended_with(**artifacts: Path) -> JobStatus:
    made = {name: path.as_uri() for name, path in artifacts.items()}
    return job().build().status.model_copy(update={"results": RESULTS, "artifacts": made})


@pytest.mark.parametrize("several", [False, True])
def test_scores_are_shown_by_ability_under_both_rules(tmp_path: Path, several: bool) -> None:
    file = tmp_path / "scores.json"
    file.write_text(json.dumps([shapes(), shapes()] if several else shapes()))
    text = printed(ended_with(scores=file), tmp_path)
    for word in ("shapes: 100 questions in 400 rows", "XTuner", "VLMEvalKit", "AR", "90.0"):
        assert word in text


@pytest.mark.parametrize("content", [None, "{", "{}", '{"rules": {}}'])
def test_status_alone_is_enough_for_a_table(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "scores.json"
    if content is not None:
        file.write_text(content)
    text = printed(ended_with(scores=file), tmp_path)
    assert "62.5" in text
    assert "-" in text


def test_a_report_is_found_even_if_nobody_told_of_it(tmp_path: Path) -> None:
    report = tmp_path / "reports" / "report.html"
    report.parent.mkdir()
    report.touch()
    assert summarise(job().build().status, tmp_path).to_lines() == [f"report: {report}"]
