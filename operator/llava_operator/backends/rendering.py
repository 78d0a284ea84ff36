"""What one attempt looks like on a cluster: a ConfigMap with its run file and a PyTorchJob whose workers are all alike.

A pure function of values: the same attempt gives the same bodies, and tests compare them with YAML files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from llava_contract.result import PROGRESS_PORT, PROGRESS_PORT_ENV
from llava_contract.run import CACHE_DIR_ENV, MODEL_ENV_PREFIX, RunConfig
from llava_operator.backends.base import Attempt
from llava_operator.backends.pod_places import Places, places_of
from llava_operator.backends.pod_queue import QUEUE_NAME
from llava_operator.core.plan import PodPlan, StagePlan

__all__ = [
    "ATTEMPT", "CONTAINER", "JOB_KIND", "JOB_NAME", "OWNER_UID", "STAGE", "Body", "PodSettings", "Rendered",
    "pod_template", "render",
]  # fmt: skip

Body = dict[str, Any]

OWNER_UID: Final = "llava.dev/owner-uid"
JOB_NAME: Final = "llava.dev/job-name"
JOB_KIND: Final = "llava.dev/job-kind"
STAGE: Final = "llava.dev/stage"
ATTEMPT: Final = "llava.dev/attempt"
CONTAINER: Final = "pytorch"
"""The name by which the Training Operator finds the container that it adds its variables to."""

_MASTER_PORT: Final = "23456"
_WORKSPACE: Final = "/workspace"
"""Relative paths of a spec start here; the trainer image keeps its examples there."""
_NODE_GONE_S: Final = 30
_USER: Final = 65532
"""Neither root nor anybody on a node."""


@dataclass(frozen=True)
class PodSettings:
    """What the operator's installation says about pods where a job is silent."""

    image: str
    grace_s: int = 120
    """Between SIGTERM and SIGKILL: time to save a checkpoint."""


@dataclass(frozen=True)
class Rendered:
    """The two bodies of an attempt; the ConfigMap has to exist first."""

    config_map: Body
    pytorch_job: Body


def render(attempt: Attempt, settings: PodSettings) -> Rendered:
    """Write the bodies of an attempt; both bear its name and belong to the job."""
    config, _ = places_of(attempt.config, attempt.plan.pods)
    metadata: Body = {
        "name": attempt.child,
        "namespace": config.job.namespace,
        "labels": _labels(config),
        "ownerReferences": [_owner(config)],
    }
    run_file = json.dumps(config.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    worker = {
        "replicas": attempt.plan.num_workers,
        "restartPolicy": "Never",
        "template": pod_template(attempt, settings),
    }
    return Rendered(
        config_map={"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"run.json": run_file}},
        pytorch_job={
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": {**metadata, "labels": {**metadata["labels"], **_queue(attempt.plan)}},
            "spec": {
                "nprocPerNode": str(attempt.plan.num_ranks // attempt.plan.num_workers),
                # No backoffLimit: it deletes the failed pod together with what it said.
                "runPolicy": {"cleanPodPolicy": "Running"},
                "pytorchReplicaSpecs": {"Worker": worker},
            },
        },
    )


def pod_template(attempt: Attempt, settings: PodSettings) -> Body:
    """Write what all pods of an attempt are made from."""
    config, places = places_of(attempt.config, attempt.plan.pods)
    overlay = attempt.plan.pods.overlay
    return {
        "metadata": {"labels": {**overlay.labels, **_labels(config)}, "annotations": dict(overlay.annotations)},
        "spec": _pod(attempt, places, settings),
    }


def _labels(config: RunConfig) -> dict[str, str]:
    return {
        OWNER_UID: config.job.uid,
        JOB_KIND: config.job.kind.value,
        JOB_NAME: config.job.name,
        STAGE: str(config.stage),
        ATTEMPT: str(config.attempt),
    }


def _queue(plan: StagePlan) -> dict[str, str]:
    return {QUEUE_NAME: plan.pods.queue_name} if plan.pods.queue_name else {}


def _owner(config: RunConfig) -> Body:
    return {
        "apiVersion": "llava.dev/v1alpha1",
        "kind": config.job.kind.value,
        "name": config.job.name,
        "uid": config.job.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _pod(attempt: Attempt, places: Places, settings: PodSettings) -> Body:
    """Write a pod's spec that Pod Security admits as restricted."""
    pods = attempt.plan.pods
    overlay = pods.overlay
    spec: Body = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": settings.grace_s,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "nodeSelector": dict(overlay.node_selector),
        "tolerations": _tolerations(attempt.plan),
        "affinity": overlay.affinity,
        "imagePullSecrets": [{"name": secret.name} for secret in overlay.image_pull_secrets],
        "priorityClassName": overlay.priority_class_name,
        "runtimeClassName": overlay.runtime_class_name,
        "serviceAccountName": overlay.service_account_name,
        "volumes": [*_volumes(attempt.child), *places.volumes],
        "containers": [_container(attempt, places, settings)],
    }
    return {name: value for name, value in spec.items() if value not in (None, [], {})}


def _tolerations(plan: StagePlan) -> list[Body]:
    """Let pods leave a node that is gone after a moment, unless the user has an opinion about such nodes."""
    users = [_dumped(toleration) for toleration in plan.pods.overlay.tolerations]
    keys = {toleration.get("key") for toleration in users}
    conditions = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    ours = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _NODE_GONE_S}
        for key in conditions
        if key not in keys and None not in keys
    ]
    return [*users, *ours]


def _volumes(child: str) -> list[Body]:
    return [{"name": "llava-run", "configMap": {"name": child}}]


def _container(attempt: Attempt, places: Places, settings: PodSettings) -> Body:
    pods = attempt.plan.pods
    container: Body = {
        "name": CONTAINER,
        "image": pods.image or settings.image,
        "imagePullPolicy": pods.image_pull_policy,
        # The image's entrypoint is `python -m llava_trainer.launch`.
        "args": ["/etc/llava/run.json"],
        "workingDir": _WORKSPACE,
        "ports": [{"name": "progress", "containerPort": PROGRESS_PORT, "protocol": "TCP"}],
        "env": _env(attempt),
        "resources": _resources(attempt.plan),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "llava-run", "mountPath": "/etc/llava", "readOnly": True}, *places.mounts],
    }
    return {name: value for name, value in container.items() if value not in (None, {})}


def _resources(plan: StagePlan) -> Body:
    requests, limits = dict(plan.pods.resources.requests), dict(plan.pods.resources.limits)
    if plan.gpus_per_worker:
        limits[plan.pods.gpu_resource_name] = requests[plan.pods.gpu_resource_name] = str(plan.gpus_per_worker)
    return {name: amounts for name, amounts in (("requests", requests), ("limits", limits)) if amounts}


def _env(attempt: Attempt) -> list[Body]:
    """Say who is who; PET_NNODES and PET_NPROC_PER_NODE come from the Training Operator; users beat defaults."""
    defaults = {
        "HOME": "/cache",
        CACHE_DIR_ENV: "/cache/llava",
        "HF_HOME": "/cache/huggingface",
        "XDG_CACHE_HOME": "/cache",
        "TORCHINDUCTOR_CACHE_DIR": "/cache/inductor",
        "TRITON_CACHE_DIR": "/cache/triton",
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
        # Many GPU images ask for every device; a pod that was given none shall see none.
        **({} if attempt.plan.gpus_per_worker else {"NVIDIA_VISIBLE_DEVICES": "void"}),
        **({"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"} if attempt.plan.is_cpu_job else {}),
    }
    users = [_dumped(variable) for variable in attempt.plan.pods.overlay.env]
    said = {variable["name"] for variable in users}
    return [
        *({"name": name, "value": value} for name, value in defaults.items() if name not in said),
        *(row for row in _credentials(attempt.plan.pods) if row["name"] not in said),
        *users,
        {"name": PROGRESS_PORT_ENV, "value": str(PROGRESS_PORT)},
        {"name": "PET_MASTER_ADDR", "value": f"{attempt.child}-worker-0"},
        {"name": "PET_MASTER_PORT", "value": _MASTER_PORT},
        {
            "name": "PET_NODE_RANK",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['training.kubeflow.org/replica-index']"}},
        },
    ]


def _credentials(pods: PodPlan) -> list[Body]:
    """Name the keys of the Secrets; nobody but the kubelet reads them."""
    secrets = {"": pods.credentials_secret, MODEL_ENV_PREFIX: pods.model_secret}
    return [row for prefix, secret in secrets.items() if secret for row in _keys(secret, prefix)]


def _keys(secret: str, prefix: str) -> list[Body]:
    keys = {"AWS_ACCESS_KEY_ID": False, "AWS_SECRET_ACCESS_KEY": False, "AWS_SESSION_TOKEN": True}
    return [
        {
            "name": f"{prefix}{key}",
            "valueFrom": {"secretKeyRef": {"name": secret, "key": key, **({"optional": True} if is_optional else {})}},
        }
        for key, is_optional in keys.items()
    ]


def _dumped(model: Any) -> Body:
    return dict(model.model_dump(mode="json", exclude_none=True, exclude_defaults=True))
