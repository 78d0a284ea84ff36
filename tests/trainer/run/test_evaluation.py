"""`llava run` of a LlavaEvalJob: the model of a job in a folder beside it is scored, with everything written down."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from openpyxl import load_workbook

from llava_contract.v1alpha1.status import JobStatus, Phase
from llava_operator.local_resources import open_job
from support.benchmarks import row, write_tsv
from support.jobs import spec
from support.tiny_model import lora, train_task
from support.trained import trained_job
from support.whole_job import COLOURS, running, write_rows


def leave_trained_job(folder: Path, *, model: Path) -> None:
    """Make a folder that says that job `tiny` exported this model."""
    with open_job(folder, spec(), name="tiny") as resources:
        job = resources.get(resources.key)
        assert job is not None
        resources.patch_status(job, JobStatus(phase=Phase.SUCCEEDED, artifacts={"huggingface": model.as_uri()}))


def write_evaluation(file: Path, benchmark: Path) -> Path:
    content = {
        "model": {"trainJobName": "tiny"},
        "storage": {"uri": "s3://nobody/reads/this"},
        "evaluate": {"benchmarks": [{"name": "asked", "uri": benchmark.name}], "maxNewTokens": 4},
        "workers": {"gpusPerWorker": 0},
    }
    head = {"apiVersion": "llava.dev/v1alpha1", "kind": "LlavaEvalJob", "metadata": {"name": "scores"}}
    file.write_text(yaml.safe_dump({**head, "spec": content}))
    return file


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    home = tmp_path_factory.mktemp("scored")
    job = trained_job(home / "parts", train_task(lora()))
    job.convert()
    leave_trained_job(home / "tiny", model=job.export)
    write_rows(home / "data")
    picture = base64.b64encode((home / "data/0.png").read_bytes()).decode()
    options = dict(zip("ABCD", COLOURS, strict=True))
    benchmark = write_tsv(home / "asked.tsv", row(1, image=picture, question="What colour?", **options, answer="A"))
    with running(write_evaluation(home / "eval.yaml", benchmark), home / "scores") as run:
        return home, run.end()


def test_the_scores_are_in_status(scored: tuple[Path, dict[str, Any]]) -> None:
    _, status = scored
    assert (status["phase"], [stage["name"] for stage in status["stages"]]) == ("Succeeded", ["evaluate"])
    assert set(status["results"]) == {
        f"asked/{rule}/{measure}" for rule in ("xtuner", "vlmevalkit") for measure in ("circular", "vanilla")
    }
    assert status["score"] == f"{100 * status['results']['asked/vlmevalkit/circular']:.1f}"


def test_the_model_is_the_one_beside(scored: tuple[Path, dict[str, Any]]) -> None:
    home, status = scored
    (attempt,) = (home / "scores/attempts").iterdir()
    told = json.loads((attempt / "run.json").read_text())["task"]["modelUri"]
    assert told == status["model"]["uri"] == (home / "parts/job/models/huggingface").as_uri()


def test_answers_lie_in_a_spreadsheet_beside_scores_and_report(scored: tuple[Path, dict[str, Any]]) -> None:
    home, status = scored
    book = next((home / "scores/evaluations/asked").rglob("mmbench_result.xlsx"))
    heads, answers = load_workbook(book)["Sheet1"].iter_rows(values_only=True)
    assert {"index", "question", "A", "prediction", "answer"} <= set(heads)
    assert dict(zip(heads, answers, strict=True))["answer"] == "A"
    assert set(status["artifacts"]) >= {"scores", "report"}


def test_the_report_names_the_model(scored: tuple[Path, dict[str, Any]]) -> None:
    home, status = scored
    page = (home / "scores/reports/report.html").read_text()
    assert "Evaluated model" in page
    assert status["model"]["uri"] in page
