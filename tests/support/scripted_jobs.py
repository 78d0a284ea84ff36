"""LlavaTrainJobs whose pods follow a script, seen and handled as a user of the API does."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import images
from support.eventually import eventually
from support.jobs import SPEC
from support.journal import Journal, journal_on
from support.replicas import start_replica
from support.specs import changed

kubernetes = pytest.importorskip("kubernetes.client", reason="the operator extra is not installed: make init")

GROUP = ("llava.dev", "v1alpha1")
WHOLE_S = 150.0
"""A job's whole life, while others live theirs on two cores."""

SHORT = {
    **{key: SPEC[key] for key in ("model", "storage")},
    "finetune": {**SPEC["finetune"], "pretrainedProjector": "/m/projector"},
}
"""The shortest job: prepare and finetune, on CPUs."""


@dataclass(frozen=True)
class JobsOf:
    """The jobs of one namespace, and what really happened to them."""

    namespace: str
    api: Any
    journal: Journal

    def create(self, name: str, script: dict[str, list[dict[str, Any]]] | None = None, **changes: Any) -> None:
        """Create a job whose attempts follow the script; `changes` are new values at dotted paths below spec."""
        word = json.dumps({"journal": self.journal.address, **(script or {})})
        pods = {"env": [{"name": "TRAINER_SCRIPT", "value": word}]}
        workers = {"gpusPerWorker": 0, "image": images.SCRIPTED, "podTemplate": pods, "cpu": {"podTemplate": pods}}
        body = {
            "apiVersion": "llava.dev/v1alpha1",
            "kind": "LlavaTrainJob",
            "metadata": {"name": name},
            "spec": {**SHORT, "workers": workers},
        }
        spec = {f"spec.{path.replace('__', '.')}": value for path, value in changes.items()}
        self._objects.create_namespaced_custom_object(*self._where, changed(body, spec))

    def edit(self, name: str, **changes: Any) -> None:
        """Change the spec as kubectl patch does."""
        patch = changed({}, {f"spec.{path.replace('__', '.')}": value for path, value in changes.items()})
        self._objects.patch_namespaced_custom_object(*self._where, name, patch)

    def suspend(self, name: str, value: bool) -> None:
        self.edit(name, runPolicy__suspend=value)

    def delete(self, name: str) -> None:
        self._objects.delete_namespaced_custom_object(*self._where, name)

    def status(self, name: str) -> dict[str, Any]:
        body = self._objects.get_namespaced_custom_object(*self._where, name)
        return dict(body.get("status") or {})

    def phase(self, name: str) -> str:
        return str(self.status(name).get("phase", ""))

    def stage(self, name: str, stage: str = "finetune") -> dict[str, Any]:
        return next((one for one in self.status(name).get("stages", []) if one["name"] == stage), {})

    def condition(self, name: str, type_: str) -> dict[str, Any]:
        return next((one for one in self.status(name).get("conditions", []) if one["type"] == type_), {})

    def said(self, name: str) -> str:
        """Everything that status says in sentences."""
        return json.dumps(self.status(name).get("conditions", []), ensure_ascii=False)

    def everything(self) -> list[dict[str, Any]]:
        """All jobs as `kubectl get -o json` prints them."""
        return list(self._objects.list_namespaced_custom_object(*self._where)["items"])

    def pods(self, name: str, stage: str = "") -> list[Any]:
        """Pods that exist, by name."""
        chosen = f"llava.dev/job-name={name}" + (f",llava.dev/stage={stage}" if stage else "")
        found = kubernetes.CoreV1Api(self.api).list_namespaced_pod(self.namespace, label_selector=chosen).items
        return sorted(found, key=lambda pod: str(pod.metadata.name))

    def children(self, name: str) -> list[str]:
        """Everything that exists because of a job."""
        chosen = {"label_selector": f"llava.dev/job-name={name}"}
        maps = kubernetes.CoreV1Api(self.api).list_namespaced_config_map(self.namespace, **chosen).items
        gangs = self._objects.list_namespaced_custom_object(
            "kubeflow.org", "v1", self.namespace, "pytorchjobs", **chosen
        )
        names = [found.metadata.name for found in (*self.pods(name), *maps)]
        return [*names, *(found["metadata"]["name"] for found in gangs["items"])]

    def ends(self, name: str, phase: str = "Succeeded") -> dict[str, Any]:
        """Wait for the end of a job, which has to be this one; gives its status."""
        eventually(lambda: self.phase(name) in ("Succeeded", "Failed"), within_s=WHOLE_S)
        status = self.status(name)
        assert status["phase"] == phase, status
        return status

    def holds(self, name: str, *, num_ranks: int, attempt: int = 1) -> None:
        """Wait until all ranks of a finetune attempt came to where they wait."""
        eventually(lambda: self.journal.num_waiting(name, attempt=attempt) == num_ranks, within_s=WHOLE_S)

    @property
    def _objects(self) -> Any:
        return kubernetes.CustomObjectsApi(self.api)

    @property
    def _where(self) -> tuple[str, str, str, str]:
        return (*GROUP, self.namespace, "llavatrainjobs")


@contextmanager
def watched_jobs(api: Any, namespace: str, folder: Path, *, beside: tuple[str, ...] = ()) -> Iterator[JobsOf]:
    """A journal, and an operator that is at work; what the operator said is shown when a test fails."""
    with unwatched_jobs(api, namespace) as jobs:
        operator = start_replica("operator", namespace, folder=folder, beside=beside)
        try:
            eventually(lambda: any(line["message"] == "leading" for line in operator.log()), within_s=60)
            yield jobs
        finally:
            operator.end()
            print(operator.log_file.read_text()[-20_000:])


@contextmanager
def unwatched_jobs(api: Any, namespace: str) -> Iterator[JobsOf]:
    """A journal for the namespace; operators are the caller's."""
    with journal_on(_address_of_this_machine(api)) as journal:
        yield JobsOf(namespace, api, journal)


def _address_of_this_machine(api: Any) -> str:
    """Find an address here that pods can reach: a node's own, where a node is this machine, or what a setting says."""
    nodes = kubernetes.CoreV1Api(api).list_node().items
    known = [one.address for node in nodes for one in node.status.addresses if one.type == "InternalIP"]
    for address in [*filter(None, [os.environ.get("LLAVA_TEST_HOST")]), *known]:
        with suppress(OSError), socket.create_server((address, 0)):
            return address
    pytest.skip("pods cannot reach this machine: set LLAVA_TEST_HOST to an address of it that they can")


def apart(name: str) -> dict[str, Any]:
    """An affinity that lets no two pods of a gang share a node; those of the stage before may still be leaving."""
    alike = {
        "labelSelector": {"matchLabels": {"llava.dev/job-name": name}},
        "matchLabelKeys": ["training.kubeflow.org/job-name"],
        "topologyKey": "kubernetes.io/hostname",
    }
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [alike]}}
