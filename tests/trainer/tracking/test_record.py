"""What an attempt leaves in the job's storage, and what the report makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llava_contract.result import StageResult
from llava_contract.run import RunConfig
from llava_trainer.report.collect import collect
from llava_trainer.storage import Storage, open_storage
from llava_trainer.tracking.record import Record


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path))


def config(storage: Storage, *, uid: str = "mine", attempt: int = 1, name: str = "llava") -> RunConfig:
    task = {
        "kind": "evaluate", "modelUri": "file:///model", "promptTemplate": None, "batchSize": 4, "maxNewTokens": 9,
        "benchmarks": [{"name": "mmb", "uri": "file:///mmb.tsv"}], "minimumAccuracy": None,
    }  # fmt: skip
    return RunConfig.model_validate(
        {
            "job": {"kind": "LlavaTrainJob", "namespace": "lab", "name": name, "uid": uid}, "stage": "evaluate",
            "attempt": attempt, "numRanks": 1, "storage": {"uri": storage.uri}, "hangTimeoutSeconds": 9, "task": task,
        }
    )  # fmt: skip


def result(attempt: int = 1) -> StageResult:
    return StageResult(
        stage="evaluate", attempt=attempt, exit_code=0, reason="Succeeded", seconds={"import": 1.0, "work": 2.0}
    )


def test_the_report_knows_how_long_a_recorded_stage_took(storage: Storage) -> None:
    Record.begin(config(storage)).end(result())
    assert [(line.name, line.work_s) for line in collect(storage).stages] == [("evaluate", 2.0)]


def test_an_attempt_without_an_end_is_told_as_such(storage: Storage) -> None:
    Record.begin(config(storage))
    assert [line.state for line in collect(storage).stages] == ["No result"]


def test_earlier_attempts_of_the_job_stay(storage: Storage) -> None:
    Record.begin(config(storage)).end(result())
    Record.begin(config(storage, attempt=2)).end(result(2))
    assert [line.attempt for line in collect(storage).stages] == [2]
    assert storage.exists("attempts/evaluate-1/result.json")


def test_attempts_of_another_job_that_shares_the_prefix_stay(storage: Storage) -> None:
    Record.begin(config(storage, uid="theirs", attempt=7, name="other")).end(result(7))
    Record.begin(config(storage)).end(result())
    assert storage.exists("attempts/evaluate-7/result.json")


def test_attempts_of_a_deleted_job_of_the_name_are_dropped(storage: Storage) -> None:
    Record.begin(config(storage, uid="theirs", attempt=7)).end(result(7))
    Record.begin(config(storage)).end(result())
    assert [item.path for item in storage.list("attempts")] == [
        "attempts/evaluate-1/result.json", "attempts/evaluate-1/run.json"
    ]  # fmt: skip


def test_a_torn_run_file_is_dropped_too(storage: Storage) -> None:
    storage.write("attempts/evaluate-1/run.json", b"{")
    storage.write("attempts/evaluate-1/result.json", b"old")
    Record.begin(config(storage))
    assert json.loads(storage.read("attempts/evaluate-1/run.json"))["job"]["uid"] == "mine"
    assert not storage.exists("attempts/evaluate-1/result.json")
