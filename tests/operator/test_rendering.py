"""What an attempt looks like on a cluster: golden YAML, and what holds for every pod."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from llava_contract.result import StageResult
from llava_contract.run import Stage
from llava_contract.v1alpha1.status import JobStatus, StageStatus
from llava_operator.backends.base import Attempt
from llava_operator.backends.pod_places import outside
from llava_operator.backends.rendering import PodSettings, render
from llava_operator.core.plan import plan_job
from llava_operator.core.runfile import run_config
from support.evaluations import DONE, MODEL, evaluation
from support.jobs import SPEC, job

GOLDENS = Path(__file__).parents[1] / "data" / "operator"
SETTINGS = PodSettings(image="registry.example/llava-trainer:1")
MADE = {"pretrainData": "/made/set1", "finetuneData": "/made/set2", "pretrainWeights": "/made/1", "huggingface": "/hf"}
OVERLAY: dict[str, Any] = {
    "labels": {"team": "vision", "llava.dev/stage": "mine"},
    "annotations": {"note": "a"},
    "nodeSelector": {"pool": "gpu"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}},
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True}],
    "env": [
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
        {"name": "OMP_WAIT_POLICY", "value": "active"},
    ],
    "imagePullSecrets": [{"name": "registry"}],
    "priorityClassName": "high",
    "runtimeClassName": "nvidia",
    "serviceAccountName": "trainer",
}
GANG = {"replicas": 2, "gpusPerWorker": 4, "resources": {"limits": {"memory": "64Gi"}}, "podTemplate": OVERLAY}
S3 = {"uri": "s3://bucket/demo", "credentialsSecretName": "keys"}
CASES: dict[str, tuple[Stage, dict[str, Any]]] = {
    "prepare-on-cpus": (Stage.PREPARE, {}),
    "finetune-two-nodes": (Stage.FINETUNE, {"workers": GANG, "storage": S3}),
    "convert-with-a-claim-as-cache": (
        Stage.CONVERT,
        {"workers": {**GANG, "cache": {"persistentVolumeClaim": {"claimName": "weights"}}}},
    ),
    "prepare-beside-gpus": (Stage.PREPARE, {"workers": GANG, "storage": {"uri": "pvc://runs/demo"}}),
}


def attempt(stage: Stage = Stage.FINETUNE, **changes: Any) -> Attempt:
    builder = job().at(stage).wanting(**changes)
    built = replace(builder.build(), status=builder.status().model_copy(update={"artifacts": MADE}))
    planned = next(one for one in plan_job(built).stages if one.stage is stage)
    return Attempt(builder.child, planned, run_config(built, planned))


def pod_of(stage: Stage = Stage.FINETUNE, **changes: Any) -> dict[str, Any]:
    worker = render(attempt(stage, **changes), SETTINGS).pytorch_job["spec"]["pytorchReplicaSpecs"]["Worker"]
    spec: dict[str, Any] = worker["template"]["spec"]
    return spec


def workers(**overlay: Any) -> dict[str, Any]:
    return {**SPEC["workers"], "podTemplate": overlay}


@pytest.mark.parametrize("name", CASES)
def test_an_attempt_is_rendered_as_written_down(name: str, request: pytest.FixtureRequest) -> None:
    stage, changes = CASES[name]
    rendered = render(attempt(stage, **changes), SETTINGS)
    golden = GOLDENS / f"{name}.yaml"
    if request.config.getoption("--update-goldens"):
        bodies = [rendered.config_map, rendered.pytorch_job]
        golden.write_text("---\n".join(yaml.safe_dump(body, sort_keys=False, width=120) for body in bodies))
    assert [rendered.config_map, rendered.pytorch_job] == list(yaml.safe_load_all(golden.read_text()))


def test_the_same_attempt_gives_the_same_bodies() -> None:
    assert render(attempt(), SETTINGS) == render(attempt(), SETTINGS)


@pytest.mark.parametrize(("stage", "gpus"), [("prepare", None), ("pretrain", "4"), ("finetune", "4"), ("convert", None),
                                             ("evaluate", "1")])  # fmt: skip
def test_only_stages_that_need_gpus_ask_for_them(stage: Stage, gpus: str | None) -> None:
    resources = pod_of(Stage(stage), workers=GANG)["containers"][0].get("resources", {})
    assert resources.get("limits", {}).get("nvidia.com/gpu") == gpus


def test_a_users_opinion_about_lost_nodes_wins() -> None:
    own = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 5}
    tolerations = pod_of(workers=workers(tolerations=[own]))["tolerations"]
    assert [(one["key"], one["tolerationSeconds"]) for one in tolerations] == [
        ("node.kubernetes.io/unreachable", 5), ("node.kubernetes.io/not-ready", 30)
    ]  # fmt: skip


def test_a_users_mount_replaces_ours_at_the_same_path() -> None:
    overlay = {"volumes": [{"name": "disk", "hostPath": {"path": "/d"}}],
               "volumeMounts": [{"name": "disk", "mountPath": "/cache"}]}  # fmt: skip
    mounts = pod_of(workers=workers(**overlay))["containers"][0]["volumeMounts"]
    assert [mount["name"] for mount in mounts if mount["mountPath"] == "/cache"] == ["disk"]


def test_claims_are_mounted_and_the_run_file_names_their_paths() -> None:
    rendered = render(attempt(Stage.PREPARE, storage={"uri": "pvc://runs/demo"}), SETTINGS)
    assert '"uri": "file:///mnt/claims/runs/demo"' in rendered.config_map["data"]["run.json"]
    assert "pvc://" not in rendered.config_map["data"]["run.json"]


def test_a_name_of_ours_is_never_a_users() -> None:
    template = render(attempt(workers={**GANG}), SETTINGS).pytorch_job["spec"]["pytorchReplicaSpecs"]["Worker"]
    assert template["template"]["metadata"]["labels"]["llava.dev/stage"] == "finetune"


def test_nothing_of_the_gang_reaches_a_pod_through_prepare() -> None:
    assert "nodeSelector" not in pod_of(Stage.PREPARE, workers=GANG)


def test_a_job_names_its_own_image() -> None:
    spec = pod_of(workers={**SPEC["workers"], "image": "mine:2", "imagePullPolicy": "Always"})
    assert [spec["containers"][0][key] for key in ("image", "imagePullPolicy")] == ["mine:2", "Always"]


def scoring() -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the ConfigMap and the PyTorchJob of an evaluation whose model lies on another server."""
    built = evaluation(DONE)
    plan = plan_job(built)
    status = JobStatus(model=plan.model, stages=[StageStatus(name="evaluate", attempt=1)])
    rendered = render(
        Attempt("demo-1", plan.stages[0], run_config(replace(built, status=status), plan.stages[0])), SETTINGS
    )
    return rendered.config_map, rendered.pytorch_job


@pytest.mark.parametrize("index", [0, 1])
def test_an_evaluation_owns_its_children_and_says_so_in_a_label(index: int) -> None:
    meta = scoring()[index]["metadata"]
    (owner,) = meta["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("LlavaEvalJob", "demo", "e1")
    assert meta["labels"]["llava.dev/job-kind"] == "LlavaEvalJob"


def test_a_model_of_another_secret_is_read_with_it_and_scores_are_written_with_ours() -> None:
    (container,) = scoring()[1]["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
    secrets = {
        env["name"]: env["valueFrom"]["secretKeyRef"]["name"] for env in container["env"] if "KEY" in env["name"]
    }
    assert secrets == {
        "AWS_ACCESS_KEY_ID": "ours", "AWS_SECRET_ACCESS_KEY": "ours",
        "LLAVA_MODEL_AWS_ACCESS_KEY_ID": "theirs", "LLAVA_MODEL_AWS_SECRET_ACCESS_KEY": "theirs",
    }  # fmt: skip


def test_the_run_file_says_where_the_model_is() -> None:
    task = json.loads(scoring()[0]["data"]["run.json"])["task"]
    assert (task["modelUri"], task["modelStorage"]["endpoint"]) == (MODEL, "http://theirs:9000")


def test_what_a_pod_made_on_a_claim_is_named_as_others_reach_it() -> None:
    made = {"huggingface": "file:///mnt/claims/runs/demo/models", "report": "file:///mnt/other/report.html"}
    told = outside(StageResult(stage="convert", attempt=1, exit_code=0, reason="Succeeded", artifacts=made))
    assert told.artifacts == {"huggingface": "pvc://runs/demo/models", "report": "file:///mnt/other/report.html"}


@pytest.mark.parametrize(
    ("cache", "source"),
    [
        (None, {"emptyDir": {}}),
        ({"emptyDir": {}}, {"emptyDir": {}}),
        ({"emptyDir": {"sizeLimit": "200Gi"}}, {"emptyDir": {"sizeLimit": "200Gi"}}),
        ({"persistentVolumeClaim": {"claimName": "w"}}, {"persistentVolumeClaim": {"claimName": "w"}}),
        ({"hostPath": {"path": "/c"}}, {"hostPath": {"path": "/c", "type": "Directory"}}),
    ],
)
@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.FINETUNE])
def test_every_pod_has_the_cache_that_the_job_names(
    stage: Stage, cache: dict[str, Any] | None, source: dict[str, Any]
) -> None:
    spec = pod_of(stage, workers={**SPEC["workers"], "cache": cache})
    assert {"name": "llava-cache", **source} in spec["volumes"]
    assert {"name": "llava-cache", "mountPath": "/cache"} in spec["containers"][0]["volumeMounts"]


def test_a_queue_is_named_on_the_gang_and_nothing_is_suspended_by_us() -> None:
    rendered = render(attempt(runPolicy={"queueName": "gpus"}), SETTINGS)
    assert rendered.pytorch_job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert "suspend" not in rendered.pytorch_job["spec"]["runPolicy"]
    assert "kueue.x-k8s.io/queue-name" not in rendered.config_map["metadata"]["labels"]
