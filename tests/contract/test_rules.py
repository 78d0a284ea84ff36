"""Every cross-field rule: its CEL text and its Python predicate give the same answer."""

from __future__ import annotations

from typing import Any

import celpy
import pytest
from pydantic import ValidationError

from llava_contract import data_rules, model_rules, rules
from llava_contract.crd import schema_of
from llava_contract.rule import Rule
from llava_contract.schema import Schema
from llava_contract.v1alpha1 import LlavaEvalJob, LlavaTrainJob
from support.specs import EVAL, PLAIN, RECIPE, changed, with_defaults

ALL = {
    rule.name: rule
    for room in (rules, data_rules, model_rules)
    for rule in vars(room).values()
    if isinstance(rule, Rule)
}
OF_EVALUATIONS = ("one-model", "model-s3-settings")
LORA = {"rank": 1, "alpha": 1}
A = "(absent)"
B = {"uri": "models/a"}
CACHE = "spec.workers.cache"
ENV = "spec.workers.podTemplate.env.0"
DATA = "spec.pretrain.data.0"
PUBLISHED = {"layout": "llava-v1.5", "root": "data"}

# rule, path of the object that the rule is about, change to PLAIN, whether the rule holds
ROWS: list[tuple[str, str, dict[str, Any], bool]] = [
    ("job-name", "", {}, True),
    ("job-name", "", {"metadata.name": "a-1"}, True),
    ("job-name", "", {"metadata.name": "a" * 31}, False),
    ("job-name", "", {"metadata.name": "1a"}, False),
    ("job-name", "", {"metadata.name": "a-"}, False),
    ("job-name", "", {"metadata.name": "a.b"}, False),
    ("job-name", "", {"metadata.name": "a\n"}, False),
    ("rows-or-layout", DATA, {}, True),
    ("rows-or-layout", DATA, {"spec.pretrain.data": [PUBLISHED]}, True),
    ("rows-or-layout", DATA, {"spec.pretrain.data": [{"weight": 2}]}, False),
    ("rows-or-layout", DATA, {"spec.pretrain.data": [{**PUBLISHED, "annotations": "a"}]}, False),
    ("layout-needs-root", DATA, {}, True),
    ("layout-needs-root", DATA, {"spec.pretrain.data": [PUBLISHED]}, True),
    ("layout-needs-root", DATA, {"spec.pretrain.data": [{"layout": "llava-v1.5"}]}, False),
    ("layout-needs-root", DATA, {"spec.pretrain.data": [{"annotations": "a", "root": "data"}]}, False),
    ("layout-finds-images", DATA, {}, True),
    ("layout-finds-images", DATA, {"spec.pretrain.data": [{**PUBLISHED, "images": "i"}]}, False),
    ("lora-needs-mode", "spec.finetune.llm", {}, True),
    ("lora-needs-mode", "spec.finetune.llm", {"spec.finetune.llm": {"mode": "full"}}, True),
    ("lora-needs-mode", "spec.finetune.llm", {"spec.finetune.llm.mode": "qlora"}, True),
    ("lora-needs-mode", "spec.finetune.llm", {"spec.finetune.llm.mode": "frozen"}, False),
    ("epochs-or-steps", "spec.pretrain", {}, True),
    ("epochs-or-steps", "spec.pretrain", {"spec.pretrain.epochs": 1}, True),
    ("epochs-or-steps", "spec.pretrain", {"spec.pretrain.maxSteps": 1}, True),
    ("epochs-or-steps", "spec.pretrain", {"spec.pretrain.epochs": 1, "spec.pretrain.maxSteps": 1}, False),
    ("qlora-is-for-the-llm", "spec.pretrain", {}, True),
    ("qlora-is-for-the-llm", "spec.pretrain", {"spec.pretrain.visionTower": {"mode": "full"}}, True),
    ("qlora-is-for-the-llm", "spec.pretrain", {"spec.pretrain.visionTower": {"mode": "qlora", "lora": LORA}}, False),
    ("offload-needs-zero", "spec.deepspeed", {"spec.deepspeed": {}}, True),
    ("offload-needs-zero", "spec.deepspeed", {"spec.deepspeed.offload": "optimizer"}, True),
    ("offload-needs-zero", "spec.deepspeed", {"spec.deepspeed": {"zeroStage": 0, "offload": "optimizer"}}, False),
    ("offload-needs-zero", "spec.deepspeed", {"spec.deepspeed": {"zeroStage": 0, "offload": "parameters"}}, False),
    ("offload-parameters", "spec.deepspeed", {"spec.deepspeed": {"zeroStage": 3, "offload": "parameters"}}, True),
    ("offload-parameters", "spec.deepspeed", {"spec.deepspeed": {"zeroStage": 1, "offload": "parameters"}}, False),
    ("offload-parameters", "spec.deepspeed", {"spec.deepspeed.offload": "parameters"}, False),
    ("ranks-on-cpus", "spec.workers", {}, True),
    ("ranks-on-cpus", "spec.workers", {"spec.workers": {"gpusPerWorker": 2}}, True),
    ("ranks-on-cpus", "spec.workers", {"spec.workers": {"ranksPerWorker": 2}}, False),
    ("ranks-on-cpus", "spec.workers", {"spec.workers.gpusPerWorker": 2}, False),
    *(
        (
            "reserved-env",
            ENV,
            {"spec.workers.podTemplate.env": [{"name": name}]},
            name in ("RANKS", "PET", "NCCL_DEBUG"),
        )
        for name in (
            "RANKS",
            "PET",
            "NCCL_DEBUG",
            "RANK",
            "LOCAL_RANK",
            "WORLD_SIZE",
            "PET_NNODES",
            "MASTER_ADDR",
            "LLAVA_RESULT_FILE",
        )
    ),
    ("one-env-value", ENV, {"spec.workers.podTemplate.env": [{"name": "A", "value": "1"}]}, True),
    ("one-env-value", ENV, {"spec.workers.podTemplate.env": [{"name": "A", "valueFrom": {}}]}, True),
    ("one-env-value", ENV, {"spec.workers.podTemplate.env": [{"name": "A", "value": "", "valueFrom": {}}]}, False),
    ("one-cache", CACHE, {CACHE: {"emptyDir": {}}}, True),
    ("one-cache", CACHE, {CACHE: {"hostPath": {"path": "/c"}}}, True),
    ("one-cache", CACHE, {CACHE: {"persistentVolumeClaim": {"claimName": "c"}}}, True),
    ("one-cache", CACHE, {CACHE: {}}, False),
    ("one-cache", CACHE, {CACHE: {"emptyDir": {}, "hostPath": {"path": "/c"}}}, False),
    ("s3-settings", "spec.storage", {}, True),
    ("s3-settings", "spec.storage", {"spec.storage": {"uri": "s3://b", "region": "eu"}}, True),
    ("s3-settings", "spec.storage", {"spec.storage.region": "eu"}, False),
    ("s3-settings", "spec.storage", {"spec.storage.pathStyle": True}, False),
    ("s3-settings", "spec.storage", {"spec.storage.pathStyle": False}, True),
    ("s3-settings", "spec.storage", {"spec.storage.endpoint": "http://minio"}, False),
    ("s3-settings", "spec.storage", {"spec.storage.credentialsSecretName": "keys"}, False),
    ("something-to-train", "spec", {}, True),
    ("something-to-train", "spec", {"spec.pretrain": A}, True),
    ("something-to-train", "spec", {"spec.pretrain": A, "spec.finetune": A}, False),
    ("data-root-needs-recipe", "spec", {}, True),
    ("data-root-needs-recipe", "spec", {"spec.dataRoot": "data"}, False),
    ("data-root-needs-recipe", "spec", {"spec.dataRoot": "data", "spec.recipe": "r"}, True),
    ("model-without-recipe", "spec", {}, True),
    ("model-without-recipe", "spec", {"spec.model": A}, False),
    ("model-without-recipe", "spec", {"spec.model.visionTower": A}, False),
    ("model-without-recipe", "spec", {"spec.model": A, "spec.recipe": "r"}, True),
    ("model-without-recipe", "spec", {"spec.model": {"from": B, "promptTemplate": "vicuna"}}, True),
    ("model-without-recipe", "spec", {"spec.model": {"from": B}}, False),
    ("from-brings-parts", "spec.model", {}, True),
    ("from-brings-parts", "spec.model", {"spec.model": {"from": B, "promptTemplate": "vicuna"}}, True),
    ("from-brings-parts", "spec.model", {"spec.model.from": B}, False),
    ("from-brings-parts", "spec.model", {"spec.model.from": B, "spec.model.llm": A}, False),
    ("from-brings-parts", "spec.model", {"spec.model.from": B, "spec.model.visionTower": A}, False),
    ("from-another-job", "", {}, True),
    ("from-another-job", "", {"spec.model": {"from": {"trainJobName": "first"}, "promptTemplate": "vicuna"}}, True),
    ("from-another-job", "", {"spec.model": {"from": B, "promptTemplate": "vicuna"}}, True),
    ("from-another-job", "", {"spec.model": {"from": {"trainJobName": "demo"}, "promptTemplate": "vicuna"}}, False),
    ("pretrain-without-recipe", "spec", {}, True),
    ("pretrain-without-recipe", "spec", {"spec.pretrain.batchSize": A}, False),
    ("pretrain-without-recipe", "spec", {"spec.pretrain.batchSize": A, "spec.recipe": "r"}, True),
    ("finetune-without-recipe", "spec", {}, True),
    ("finetune-without-recipe", "spec", {"spec.finetune.llm": A}, False),
    ("finetune-without-recipe", "spec", {"spec.finetune": A}, True),
    ("pretrain-lora-settings", "spec", {"spec.pretrain.visionTower": {"mode": "lora"}}, False),
    ("pretrain-lora-settings", "spec", {"spec.pretrain.visionTower": {"mode": "lora", "lora": LORA}}, True),
    ("pretrain-lora-settings", "spec", {"spec.pretrain.llm": {"mode": "qlora"}}, False),
    ("finetune-lora-settings", "spec", {}, True),
    ("finetune-lora-settings", "spec", {"spec.finetune.llm.lora": A}, False),
    ("finetune-lora-settings", "spec", {"spec.finetune.llm.lora": A, "spec.recipe": "r"}, True),
    ("pretrain-starts-fresh", "spec", {}, True),
    ("pretrain-starts-fresh", "spec", {"spec.pretrain.pretrainedProjector": "x"}, False),
    ("finetune-needs-projector", "spec", {}, True),
    ("finetune-needs-projector", "spec", {"spec.pretrain": A}, False),
    ("finetune-needs-projector", "spec", {"spec.pretrain": A, "spec.finetune.pretrainedProjector": "x"}, True),
    ("finetune-needs-projector", "spec", {"spec.pretrain": A, "spec.recipe": "r"}, True),
    ("finetune-needs-projector", "spec", {"spec.pretrain": A, "spec.model": {"from": B}}, True),
    ("finetune-needs-projector", "spec", {"spec.pretrain": A, "spec.model": A}, False),
    ("one-projector", "spec", {}, True),
    ("one-projector", "spec", {"spec.pretrain": A, "spec.finetune.pretrainedProjector": "x"}, True),
    (
        "one-projector",
        "spec",
        {"spec.pretrain": A, "spec.finetune.pretrainedProjector": "x", "spec.model": {"from": B}},
        False,
    ),
    ("one-projector", "spec", {"spec.model": {"from": B}}, True),
    ("one-projector", "spec", {"spec.finetune.pretrainedProjector": "x"}, False),
    ("convert-needs-depth-2", "spec", {}, True),
    ("convert-needs-depth-2", "spec", {"spec.model.projectorDepth": 2}, True),
    ("convert-needs-depth-2", "spec", {"spec.model.projectorDepth": 1}, False),
    ("convert-needs-depth-2", "spec", {"spec.model.projectorDepth": 1, "spec.convert": A, "spec.evaluate": A}, True),
    ("evaluate-needs-convert", "spec", {}, True),
    ("evaluate-needs-convert", "spec", {"spec.convert": A}, False),
    ("evaluate-needs-convert", "spec", {"spec.convert": A, "spec.recipe": "r"}, True),
    ("fp16-needs-gpus", "spec", {}, True),
    ("fp16-needs-gpus", "spec", {"spec.finetune.precision": "fp16"}, False),
    ("fp16-needs-gpus", "spec", {"spec.pretrain.precision": "fp16"}, False),
    ("fp16-needs-gpus", "spec", {"spec.pretrain.precision": "fp16", "spec.workers": A}, True),
    ("one-model", "spec.model", {}, True),
    ("one-model", "spec.model", {"spec.model": {"uri": "x"}}, True),
    ("one-model", "spec.model", {"spec.model": {}}, False),
    ("one-model", "spec.model", {"spec.model.uri": "x"}, False),
    ("model-s3-settings", "spec.model", {}, True),
    ("model-s3-settings", "spec.model", {"spec.model": {"uri": "s3://b", "region": "eu"}}, True),
    ("model-s3-settings", "spec.model", {"spec.model": {"uri": "/models/a", "pathStyle": False}}, True),
    ("model-s3-settings", "spec.model", {"spec.model": {"uri": "/models/a", "pathStyle": True}}, False),
    ("model-s3-settings", "spec.model", {"spec.model": {"uri": "hf://org/a", "credentialsSecretName": "keys"}}, False),
    ("model-s3-settings", "spec.model", {"spec.model.endpoint": "http://minio"}, False),
]


def evaluate_cel(rule: Rule, value: Any) -> bool:
    environment = celpy.Environment()
    return bool(environment.program(environment.compile(rule.cel)).evaluate({"self": celpy.json_to_cel(value)}))


def holds_in_python(rule: Rule, model: type[Schema], body: dict[str, Any]) -> bool:
    try:
        model.model_validate(body)
    except ValidationError as error:
        return rule.message not in {one["ctx"]["sentence"] for one in error.errors()}
    return True


@pytest.mark.parametrize(("name", "path", "change", "holds"), ROWS)
def test_cel_and_python_agree(name: str, path: str, change: dict[str, Any], holds: bool) -> None:
    model, base = (LlavaEvalJob, EVAL) if name in OF_EVALUATIONS else (LlavaTrainJob, PLAIN)
    body = changed(base, change)
    value = with_defaults(schema_of(model), body)
    for key in filter(None, path.split(".")):
        value = value[int(key) if key.isdigit() else key]
    assert (evaluate_cel(ALL[name], value), holds_in_python(ALL[name], model, body)) == (holds, holds)


@pytest.mark.parametrize("name", ALL)
def test_every_rule_is_shown_kept_and_broken(name: str) -> None:
    assert {holds for row_name, _, _, holds in ROWS if row_name == name} == {True, False}


@pytest.mark.parametrize("name", ALL)
def test_every_rule_stands_in_a_definition(name: str) -> None:
    texts = str([schema_of(LlavaTrainJob), schema_of(LlavaEvalJob)])
    assert ALL[name].message in texts or repr(ALL[name].message) in texts


def test_a_recipe_may_fill_what_a_rule_misses() -> None:
    LlavaTrainJob.model_validate(RECIPE)
