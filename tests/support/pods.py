"""Bodies of pods and PyTorchJobs as the API server shows them: `pod(0).ended(77)`, `pod(1).running()`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from llava_contract.result import StageResult
from support.jobs import NOON, UID

CHILD = "demo-2e7ddb51-finetune-1"
LABELS = {"llava.dev/owner-uid": UID, "llava.dev/stage": "finetune", "llava.dev/attempt": "1"}


def stamp(seconds: float = 0) -> str:
    return (NOON + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pytorch_job(num_workers: int = 2, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": CHILD, "namespace": "team", "uid": "job-uid", "labels": LABELS, **metadata},
        "spec": {"pytorchReplicaSpecs": {"Worker": {"replicas": num_workers}}},
    }


@dataclass(frozen=True)
class Pod:
    """A worker of the gang; each method returns a changed copy."""

    index: int
    uid: str = ""
    phase: str = "Pending"
    state: dict[str, Any] = field(default_factory=dict)
    conditions: tuple[dict[str, str], ...] = ()
    leaving: str | None = None
    node: str = ""
    made_s: float = -60
    image: str = ""

    @property
    def name(self) -> str:
        return f"{CHILD}-worker-{self.index}"

    def made(self, *, at_s: float) -> Pod:
        return replace(self, made_s=at_s)

    def placed(self) -> Pod:
        return replace(self, node="node-a")

    def running(self) -> Pod:
        return replace(self, phase="Running", state={"running": {}})

    def waits(self, reason: str, message: str = "", *, image: str = "") -> Pod:
        return replace(self, state={"waiting": {"reason": reason, "message": message}}, image=image)

    def unschedulable(self, message: str) -> Pod:
        return self._condition("PodScheduled", "False", reason="Unschedulable", message=message)

    def ended(self, code: int, *, at_s: float = 0, reason: str = "Error", said: StageResult | None = None) -> Pod:
        told = {"exitCode": code, "reason": reason, "finishedAt": stamp(at_s)}
        if said:
            told["message"] = said.to_message().decode()
        return replace(self, phase="Failed" if code else "Succeeded", state={"terminated": told})

    def disrupted(self, *, at_s: float = 0) -> Pod:
        return self._condition("DisruptionTarget", "True", lastTransitionTime=stamp(at_s))

    def evicted_unseen(self) -> Pod:
        return replace(self, phase="Failed", state={})

    def leaves(self, *, at: datetime) -> Pod:
        return replace(self, leaving=at.isoformat())

    def replaced(self, uid: str) -> Pod:
        return replace(self, uid=uid)

    def body(self) -> dict[str, Any]:
        meta = {
            "name": self.name,
            "namespace": "team",
            "uid": self.uid or f"pod-{self.index}",
            "creationTimestamp": stamp(self.made_s),
            "labels": {
                **LABELS,
                "training.kubeflow.org/job-name": CHILD,
                "training.kubeflow.org/replica-index": str(self.index),
            },
            **({"deletionTimestamp": self.leaving} if self.leaving else {}),
        }
        statuses = [{"name": "pytorch", "state": self.state, "image": self.image}] if self.state else []
        status = {"phase": self.phase, "containerStatuses": statuses, "conditions": list(self.conditions)}
        return {"metadata": meta, "spec": {"nodeName": self.node}, "status": status}

    def _condition(self, type_: str, status: str, **rest: str) -> Pod:
        return replace(self, conditions=(*self.conditions, {"type": type_, "status": status, **rest}))


def pod(index: int) -> Pod:
    """Return a pod that has just been made."""
    return Pod(index)
