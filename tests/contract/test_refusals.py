"""Jobs that are refused, each with the API server's own words, and jobs that are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from llava_contract.v1alpha1 import LlavaEvalJob, LlavaTrainJob
from llava_contract.validate import validate_body
from support.specs import BASES, changed

REFUSED = yaml.safe_load((Path(__file__).parents[1] / "data" / "contract" / "refused.yaml").read_text(encoding="utf-8"))

ADAPTER = {"mode": "qlora", "lora": {"rank": 64, "alpha": 16, "dropout": 0.1}}
OWN_ROWS = [{"annotations": "rows.json"}]
FROM = {"from": {"uri": "hf://org/llava"}, "promptTemplate": "vicuna"}
ONE_STAGE = "llava_v15_7b_finetune"
GOOD: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("plain", {}),
    "recipe": ("recipe", {}),
    "eval": ("eval", {}),
    "eval of a folder": ("eval", {"spec.model": {"uri": "s3://bucket/model"}}),
    "eval of another server's folder": (
        "eval",
        {"spec.model": {"uri": "s3://theirs/model", "endpoint": "http://minio:9000", "credentialsSecretName": "keys"}},
    ),
    "eval on CPUs": ("eval", {"spec.workers": {"gpusPerWorker": 0}}),
    "eval with limits": ("eval", {"spec.runPolicy": {"suspend": True, "maxRestarts": 0, "activeDeadlineSeconds": 60}}),
    "pretrain only": ("plain", {"spec.finetune": "(absent)", "spec.evaluate": "(absent)"}),
    "no export": ("plain", {"spec.convert": "(absent)", "spec.evaluate": "(absent)"}),
    "finetune from a projector": ("plain", {"spec.pretrain": "(absent)", "spec.finetune.pretrainedProjector": "x"}),
    "finetune of a whole model": ("plain", {"spec.pretrain": "(absent)", "spec.model": FROM}),
    "all stages on a whole model": ("plain", {"spec.model": {**FROM, "from": {"trainJobName": "first"}}}),
    "recipe on a whole model": ("recipe", {"spec.model.from": {"trainJobName": "first"}}),
    "one-stage recipe on a whole model": ("recipe", {"spec.recipe": ONE_STAGE, "spec.model.from": FROM["from"]}),
    "steps": ("plain", {"spec.pretrain.maxSteps": 10}),
    "rate as an integer": ("plain", {"spec.pretrain.learningRate": 1}),
    "text-only data": ("plain", {"spec.pretrain.data": [{"annotations": "rows.jsonl", "weight": 0.5}]}),
    "data as published": ("plain", {"spec.pretrain.data": [{"layout": "sharegpt4v", "root": "s3://bucket/data"}]}),
    "frozen LLM": ("plain", {"spec.finetune.llm": {"mode": "frozen"}}),
    "full LLM": ("plain", {"spec.finetune.llm": {"mode": "full"}}),
    "qlora": ("plain", {"spec.finetune.llm": ADAPTER}),
    "adapters on the tower": ("plain", {"spec.finetune.visionTower": {**ADAPTER, "mode": "lora"}}),
    "fp32 on CPUs": ("plain", {"spec.finetune.precision": "fp32"}),
    "fp16 on GPUs": ("plain", {"spec.finetune.precision": "fp16", "spec.workers": {"gpusPerWorker": 2}}),
    "one rank on a CPU": ("plain", {"spec.workers": {"gpusPerWorker": 0}}),
    "parameters offloaded": ("plain", {"spec.deepspeed": {"zeroStage": 3, "offload": "parameters"}}),
    "optimizer offloaded": ("plain", {"spec.deepspeed": {"zeroStage": 1, "offload": "optimizer"}}),
    "no ZeRO": ("plain", {"spec.deepspeed": {"zeroStage": 0}}),
    "path with spaces": ("plain", {"spec.storage.uri": "my runs/first try"}),
    "path in the container": ("plain", {"spec.storage.uri": "file:///mnt/runs"}),
    "S3-compatible": ("recipe", {"spec.storage.endpoint": "http://minio:9000", "spec.storage.pathStyle": True}),
    "recipe with a changed rate": ("recipe", {"spec.finetune.learningRate": 1e-5}),
    "recipe made full": ("recipe", {"spec.finetune.llm.mode": "full"}),
    "recipe with LoRA for QLoRA": ("recipe", {"spec.finetune.llm.mode": "lora"}),
    "recipe with own data": (
        "recipe",
        {
            "spec.dataRoot": "(absent)",
            "spec.pretrain.data": [{"annotations": "a"}],
            "spec.finetune.data": [{"annotations": "b"}],
        },
    ),
    "recipe on CPUs": ("recipe", {"spec.workers": {"gpusPerWorker": 0, "ranksPerWorker": 2}}),
    "one-stage recipe": ("recipe", {"spec.recipe": ONE_STAGE, "spec.finetune.pretrainedProjector": "x"}),
    "one-stage recipe, exported": (
        "recipe",
        {"spec.recipe": ONE_STAGE, "spec.finetune.pretrainedProjector": "x", "spec.convert": {}},
    ),
    "claim as cache": ("plain", {"spec.workers.cache": {"persistentVolumeClaim": {"claimName": "shared"}}}),
    "bounded cache": ("plain", {"spec.workers.cache": {"emptyDir": {"sizeLimit": "200Gi"}}}),
    "kept for a day": ("plain", {"spec.runPolicy.ttlSecondsAfterFinished": 86400}),
    "longest name": ("plain", {"metadata.name": "a" * 30}),
    "labels": ("plain", {"metadata.labels": {"team": "vision"}}),
}


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["name"])
def test_refused_with_the_field_and_a_sentence(row: dict[str, Any]) -> None:
    body = changed(BASES[row["job"]], row["change"])
    assert [str(problem) for problem in validate_body(body)] == row["want"]


@pytest.mark.parametrize("name", GOOD)
def test_accepted(name: str) -> None:
    base, change = GOOD[name]
    assert validate_body(changed(BASES[base], change)) == []


@pytest.mark.parametrize("base", BASES)
def test_a_job_survives_the_wire(base: str) -> None:
    model = LlavaEvalJob if base == "eval" else LlavaTrainJob
    job = model.model_validate(BASES[base])
    assert model.model_validate_json(job.model_dump_json()) == job


def test_python_names_are_no_names_on_the_wire() -> None:
    body = changed(BASES["plain"], {"spec.data_root": "x"})
    assert [problem.path for problem in validate_body(body)] == ["spec.data_root"]
