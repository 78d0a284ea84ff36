"""Who the operator believes to work beside it: a Training Operator that makes pods, a kubelet that runs them at once.

Pods never run: their status says so, and that their process left the StageResult of a success.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from api import Api, Body
from llava_contract.result import Artifact, CheckpointRef, StageResult
from llava_contract.run import Stage

__all__ = ["Players"]

_SHA: Final = "0" * 64
_MADE: Final = {
    Stage.PREPARE: {Artifact.PRETRAIN_DATA: "/made/set1", Artifact.FINETUNE_DATA: "/made/set2"},
    Stage.PRETRAIN: {Artifact.PRETRAIN_WEIGHTS: "/made/pretrain"},
    Stage.FINETUNE: {Artifact.FINETUNE_WEIGHTS: "/made/finetune"},
    Stage.CONVERT: {Artifact.HUGGINGFACE: "/made/model"},
    Stage.EVALUATE: {Artifact.SCORES: "/made/scores.json", Artifact.REPORT: "/made/report.html"},
}


class Players:
    """Bring every PyTorchJob of a namespace to a good end."""

    def __init__(self, api: Api, namespace: str, *, stage_s: float) -> None:
        self._api, self._stage_s = api, stage_s
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._jobs = f"/apis/kubeflow.org/v1/namespaces/{namespace}/pytorchjobs"
        self.num_attempts = 0

    async def play(self, gang: Body) -> None:
        """Make the pods of a PyTorchJob, let them run for a while, and let them succeed."""
        self.num_attempts += 1
        name, worker = gang["metadata"]["name"], gang["spec"]["pytorchReplicaSpecs"]["Worker"]
        pods = [_pod(gang, worker["template"], index) for index in range(worker["replicas"])]
        await asyncio.gather(*(self._api.post(self._pods, pod) for pod in pods))
        names = [pod["metadata"]["name"] for pod in pods]
        await self._tell(names, {"phase": "Running", **_containers({"running": {"startedAt": _now()}})})
        await asyncio.sleep(self._stage_s)
        said = _result(gang).to_message().decode()
        ended = {"exitCode": 0, "reason": "Completed", "message": said, "startedAt": _now(), "finishedAt": _now()}
        await self._tell(names, {"phase": "Succeeded", **_containers({"terminated": ended})})
        done = {"type": "Succeeded", "status": "True", "reason": "PyTorchJobSucceeded", "message": "", **_times()}
        await self._api.patch(f"{self._jobs}/{name}/status", {"status": {"conditions": [done]}})

    async def _tell(self, names: list[str], status: Body) -> None:
        await asyncio.gather(*(self._api.patch(f"{self._pods}/{name}/status", {"status": status}) for name in names))


def _pod(gang: Body, template: Body, index: int) -> Body:
    """Write a worker as the Training Operator does; a scheduler of another name leaves it alone."""
    meta = gang["metadata"]
    own = {
        "training.kubeflow.org/job-name": meta["name"],
        "training.kubeflow.org/operator-name": "pytorchjob-controller",
        "training.kubeflow.org/replica-index": str(index),
        "training.kubeflow.org/replica-type": "worker",
    }
    owner = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": meta["name"], "uid": meta["uid"]}
    labels = {**template["metadata"]["labels"], **own}
    return {
        "metadata": {
            "name": f"{meta['name']}-worker-{index}",
            "labels": labels,
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {**template["spec"], "schedulerName": "nobody", "restartPolicy": "Never"},
    }


def _containers(state: Body) -> Body:
    status = {"name": "pytorch", "state": state, "ready": False, "restartCount": 0, "image": "i", "imageID": ""}
    ready = {"type": "Ready", "status": "True" if "running" in state else "False"}
    return {"containerStatuses": [status], "conditions": [ready], "startTime": _now()}


def _result(gang: Body) -> StageResult:
    labels = gang["metadata"]["labels"]
    stage, attempt = Stage(labels["llava.dev/stage"]), int(labels["llava.dev/attempt"])
    is_training = stage in (Stage.PRETRAIN, Stage.FINETUNE)
    commit = CheckpointRef(uri=f"/made/{stage}/step-120", step=120, manifest_sha256=_SHA) if is_training else None
    scores = {"mmbench-tiny/vlmevalkit/circular": 0.875} if stage is Stage.EVALUATE else {}
    return StageResult(
        stage=stage, attempt=attempt, exit_code=0, reason="Succeeded", checkpoint=commit,
        artifacts={str(name): uri for name, uri in _MADE[stage].items()}, results=scores, seconds={"import": 3.0},
    )  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _times() -> Body:
    return {"lastTransitionTime": _now(), "lastUpdateTime": _now()}
