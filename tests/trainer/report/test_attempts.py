"""Without a job.json the files of attempts tell of the job."""

import json
from pathlib import Path
from typing import Any

import pytest

from llava_contract.result import StageResult
from llava_trainer.report.collect import collect
from llava_trainer.report.page import render
from llava_trainer.storage import Storage, open_storage

MODEL = {
    "llm": "file:///llm", "visionTower": "file:///clip", "promptTemplate": "vicuna", "projectorDepth": 2,
    "visionFeatureLayer": -2,
}  # fmt: skip
FROZEN = {"mode": "frozen", "lora": None}
LORA = {"mode": "lora", "lora": {"rank": 64, "alpha": 128.0, "dropout": 0.0}}
TASKS: dict[str, dict[str, Any]] = {
    "finetune": {
        "kind": "train", "model": MODEL, "prepared": "file:///set", "pretrainedProjector": None, "llm": LORA,
        "visionTower": FROZEN, "epochs": 1, "maxSteps": None, "batchSize": 16, "accumulation": 1, "maxLength": 1472,
        "learningRate": 0.002, "schedule": "cosine", "warmupRatio": 0.03, "weightDecay": 0.0, "maxGradNorm": 1.0,
        "precision": "fp32", "order": "shuffled", "gradientCheckpointing": False, "seed": 0,
        "deterministic": False,
        "stopOnLossSpike": True, "validation": None, "samples": None, "deepspeed": {"zeroStage": 2, "offload": "none"},
        "saveEverySteps": 60, "saveEveryMinutes": None, "keepLast": 2,
        "tracking": {},
    },
    "evaluate": {
        "kind": "evaluate", "modelUri": "file:///model", "promptTemplate": None, "batchSize": 4, "maxNewTokens": 9,
        "benchmarks": [{"name": "mmb", "uri": "file:///mmb.tsv"}], "minimumAccuracy": None,
    },
}  # fmt: skip


def ask(storage: Storage, stage: str, attempt: int = 1) -> None:
    run = {
        "job": {"kind": "LlavaTrainJob", "namespace": "lab", "name": "my-llava", "uid": "u"}, "stage": stage,
        "attempt": attempt, "numRanks": 1,
        "storage": {"uri": "file:///job"}, "hangTimeoutSeconds": 9, "task": TASKS[stage],
    }  # fmt: skip
    storage.write(f"attempts/{stage}-{attempt}/run.json", json.dumps(run).encode())


def end(storage: Storage, stage: str, attempt: int = 1, *, code: int = 0, message: str = "") -> None:
    seconds = {"import": 1.0, "work": 2.0}
    result = StageResult(
        stage=stage, attempt=attempt, exit_code=code, reason="Diverged", message=message, seconds=seconds
    )
    storage.write(f"attempts/{stage}-{attempt}/result.json", result.model_dump_json().encode())


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path))


def test_the_last_attempt_tells_of_its_stage(storage: Storage) -> None:
    end(storage, "finetune", 1, code=75)
    end(storage, "finetune", 2)
    (line,) = collect(storage).stages
    assert (line.name, line.state, line.restarts, line.work_s) == ("finetune", "Succeeded", 1, 2.0)


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("finetune", "file:///llm"), ("finetune", "file:///clip"), ("finetune", "vicuna"),
        ("finetune", "adapted by LoRA, rank 64"), ("finetune", "finetune.learningRate"), ("finetune", "my-llava"),
        ("evaluate", "Evaluated model"), ("evaluate", "file:///model"), ("evaluate", "evaluate.benchmarks[0].uri"),
    ],
)  # fmt: skip
def test_a_run_file_tells(storage: Storage, stage: str, said: str) -> None:
    ask(storage, stage)
    assert said in render(collect(storage))


@pytest.mark.parametrize(("message", "said"), [("the loss is &", "the loss is &amp;"), ("", "finetune: Diverged")])
def test_a_failed_stage_shows_a_banner(storage: Storage, message: str, said: str) -> None:
    end(storage, "finetune", code=14, message=message)
    banner = render(collect(storage)).partition('role="alert">')[2].partition("</div>")[0]
    assert said in banner


def test_a_failure_that_a_later_attempt_mended_shows_no_banner(storage: Storage) -> None:
    end(storage, "finetune", 1, code=14, message="the loss is not a number")
    end(storage, "finetune", 2)
    assert "alert" not in render(collect(storage))


def test_attempts_without_a_result_are_listed(storage: Storage) -> None:
    ask(storage, "finetune", 1)
    end(storage, "finetune", 2)
    ask(storage, "evaluate", 1)
    told = [(line.name, line.attempt, line.state) for line in collect(storage).stages]
    assert told == [("finetune", 1, "No result"), ("finetune", 2, "Succeeded"), ("evaluate", 1, "No result")]


def test_an_export_tells_of_its_parts_where_nobody_else_does(storage: Storage) -> None:
    storage.write("models/huggingface/llava.json", json.dumps({"llm": "file:///llm", "vision_tower": None}).encode())
    assert collect(storage).facts == (("Language model", "file:///llm"),)


def test_settings_are_grouped_by_stage(storage: Storage) -> None:
    ask(storage, "finetune")
    ask(storage, "evaluate")
    assert [group.title for group in collect(storage).settings] == ["finetune", "evaluate"]
