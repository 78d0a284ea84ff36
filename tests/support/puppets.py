"""Gangs without a kubelet: their pods exist on the API server, and the test says how they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from kubernetes import client as kubernetes

from llava_contract.result import StageResult
from llava_contract.run import Stage
from support.eventually import eventually
from support.fakes import MADE
from support.jobs import result
from support.specs import PLAIN, changed

Body = dict[str, Any]

VERSION = ("llava.dev", "v1alpha1")
# No kubelet may have an opinion about pods whose status the test writes.
NOWHERE = {"podTemplate": {"nodeSelector": {"llava.dev/test": "no-such-node"}}}
WORKERS = {"gpusPerWorker": 0, "ranksPerWorker": 1, **NOWHERE, "cpu": NOWHERE}
EPOCH = "2026-03-01T12:00:00Z"
SCORES = {"shapes/vlmevalkit/circular": 0.875}


def job_body(name: str = "demo", **changes: Any) -> dict[str, Any]:
    """Write a job whose pods no node takes; `changes` are new values at dotted paths, dots written as __."""
    body = changed(PLAIN, {"metadata.name": name, "spec.storage.uri": "s3://bucket/demo", "spec.workers": WORKERS})
    return changed(body, {path.replace("__", "."): value for path, value in changes.items()})


def asked(
    api: Any, path: str, *, accept: str = "application/json", apply: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Ask the API server for what its client has no method for; `apply` is what to apply on the server's side."""
    response = api.call_api(
        path,
        "PATCH" if apply else "GET",
        query_params=[("fieldManager", "a-user")] if apply else [],
        header_params={"Accept": accept, **({"Content-Type": "application/apply-patch+yaml"} if apply else {})},
        body=apply,
        auth_settings=["BearerToken"],
        _preload_content=False,
        _return_http_data_only=True,
    )
    return dict(json.loads(response.data))


@dataclass(frozen=True)
class Puppets:
    """One job of a namespace and the strings of its pods."""

    api: Any
    namespace: str
    name: str = "demo"

    def create(self, **changes: Any) -> None:
        """Create the job; `changes` are as in job_body."""
        self._objects.create_namespaced_custom_object(*self._jobs, job_body(self.name, **changes))

    def edit(self, changes: dict[str, Any]) -> int:
        """Merge into the spec; gives the new generation."""
        done = self._objects.patch_namespaced_custom_object(*self._jobs, self.name, {"spec": changes})
        return int(done["metadata"]["generation"])

    def apply(self) -> dict[str, Any]:
        """Apply the job on the server's side, as `kubectl apply --server-side` does."""
        return asked(self.api, self._path, apply=job_body(self.name))

    def replace(self, body: dict[str, Any]) -> None:
        """Put this in the job's place."""
        self._objects.replace_namespaced_custom_object(*self._jobs, self.name, body)

    def write_status(self, status: Body) -> None:
        """Write status as the operator does."""
        self._objects.patch_namespaced_custom_object_status(*self._jobs, self.name, {"status": status})

    def events(self) -> list[Body]:
        """Give what was told about the job."""
        told = asked(self.api, f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events")["items"]
        return [event for event in told if event["regarding"].get("name") == self.name]

    def job(self) -> dict[str, Any]:
        return dict(self._objects.get_namespaced_custom_object(*self._jobs, self.name))

    def status(self) -> dict[str, Any]:
        return dict(self.job().get("status") or {})

    def condition(self, type_: str) -> dict[str, Any]:
        return next((one for one in self.status().get("conditions", ()) if one["type"] == type_), {})

    def said(self, type_: str = "Ready") -> tuple[str, str]:
        found = self.condition(type_)
        return found.get("status", ""), found.get("reason", "")

    def row(self) -> dict[str, Any]:
        """Give the cells of `kubectl get -o wide` by column."""
        table = asked(self.api, self._path, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        columns = [column["name"].upper() for column in table["columnDefinitions"]]
        return dict(zip(columns, table["rows"][0]["cells"], strict=True))

    def chosen(self, selector: str) -> list[str]:
        """Give the names that a field selector finds."""
        found = self._objects.list_namespaced_custom_object(*self._jobs, field_selector=selector)
        return [body["metadata"]["name"] for body in found["items"]]

    def gang(self, stage: str, attempt: int = 1) -> str:
        """Wait until an attempt's PyTorchJob is there, and make its pod if no Training Operator does."""
        choice = f"llava.dev/job-name={self.name},llava.dev/stage={stage},llava.dev/attempt={attempt}"
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            where = ("kubeflow.org", "v1", self.namespace, "pytorchjobs")
            found[:] = self._objects.list_namespaced_custom_object(*where, label_selector=choice)["items"]
            return bool(found)

        eventually(is_there)
        self._make_pod(found[0])
        return str(found[0]["metadata"]["name"])

    def waits(self, child: str, reason: str, message: str) -> None:
        """Let the pod wait for something."""
        state = {"waiting": {"reason": reason, "message": message}}
        self._say(child, {"phase": "Pending", "containerStatuses": [_container(state)]})

    def runs(self, child: str, ip: str | None = None) -> None:
        """Let the pod run."""
        placed = [{"type": "PodScheduled", "status": "True"}]
        status = {"phase": "Running", "containerStatuses": [_container({"running": {"startedAt": EPOCH}})]}
        self._say(child, {**status, "conditions": placed, **({"podIP": ip, "podIPs": [{"ip": ip}]} if ip else {})})

    def ends(self, child: str, said: StageResult) -> None:
        """Let the pod end with a result."""
        told = {"exitCode": said.exit_code, "reason": "Error" if said.exit_code else "Completed",
                "finishedAt": EPOCH, "message": said.to_message().decode()}  # fmt: skip
        phase = "Failed" if said.exit_code else "Succeeded"
        self._say(child, {"phase": phase, "containerStatuses": [_container({"terminated": told})]})

    def succeeds(self, stage: str, attempt: int = 1) -> None:
        """Let an attempt run and make what its stage makes."""
        child = self.gang(stage, attempt)
        self.runs(child)
        eventually(lambda: self.row()["STATE"] == "Running")
        self.ends(child, success(stage, attempt))

    def _make_pod(self, gang: dict[str, Any]) -> None:
        meta = gang["metadata"]
        template = gang["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
        labels = {"training.kubeflow.org/job-name": meta["name"], "training.kubeflow.org/replica-index": "0"}
        owner = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": meta["name"], "uid": meta["uid"]}
        body = {
            "metadata": {
                "name": f"{meta['name']}-worker-0",
                "labels": {**template["metadata"]["labels"], **labels},
                "ownerReferences": [{**owner, "controller": True}],
            },
            "spec": template["spec"],
        }
        try:
            self._core.create_namespaced_pod(self.namespace, body)
        except kubernetes.ApiException as error:
            if error.status != 409:
                raise

    def _say(self, child: str, status: dict[str, Any]) -> None:
        self._core.patch_namespaced_pod_status(f"{child}-worker-0", self.namespace, {"status": status})

    @property
    def _path(self) -> str:
        return "/apis/{}/{}/namespaces/{}/{}/".format(*self._jobs) + self.name

    @property
    def _core(self) -> Any:
        return kubernetes.CoreV1Api(self.api)

    @property
    def _objects(self) -> Any:
        return kubernetes.CustomObjectsApi(self.api)

    @property
    def _jobs(self) -> tuple[str, str, str, str]:
        return (*VERSION, self.namespace, "llavatrainjobs")


def success(stage: str, attempt: int = 1) -> StageResult:
    """Say what a stage that went well says."""
    made = {str(name): uri for name, uri in MADE[Stage(stage)].items()}
    return result(Stage(stage), attempt, artifacts=made, results=SCORES if stage == "evaluate" else {})


def _container(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "pytorch", "state": state, "ready": False, "restartCount": 0, "image": "i", "imageID": ""}
