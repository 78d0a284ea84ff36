"""The operator behind a bad network: what vanishes inside a gap of a watch is found when the watch begins anew."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.api_proxy import api_proxy
from support.eventually import eventually
from support.replicas import start_replica
from support.tree import ROOT

kubernetes = pytest.importorskip("kubernetes")

JOB = yaml.safe_load((ROOT / "examples/tiny/llava-finetune.yaml").read_text())
OURS = ("llava.dev", "v1alpha1")
WITHIN_S = 60.0
"""Far less than the resync, which would find it after 300 s."""


class Place:
    """A namespace with a job whose gang the test plays."""

    def __init__(self, client: Any, namespace: str) -> None:
        self.namespace = namespace
        self.objects = kubernetes.client.CustomObjectsApi(client)
        self.core = kubernetes.client.CoreV1Api(client)
        body = {**JOB, "metadata": {"name": "llava"}}
        self.objects.create_namespaced_custom_object(*OURS, namespace, "llavatrainjobs", body)

    def stage(self) -> Any:
        job = self.objects.get_namespaced_custom_object(*OURS, self.namespace, "llavatrainjobs", "llava")
        return job.get("status", {}).get("stages", [{}])[0]

    def gangs(self) -> list[Any]:
        found = self.objects.list_namespaced_custom_object("kubeflow.org", "v1", self.namespace, "pytorchjobs")
        return list(found["items"])

    def run_pod(self) -> str:
        """Make the one pod of the gang and say that it runs; nothing but the test ever touches it."""
        (gang,) = self.gangs()
        child, template = gang["metadata"]["name"], gang["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
        labels = {"training.kubeflow.org/job-name": child, "training.kubeflow.org/replica-index": "0"}
        meta = {"name": f"{child}-worker-0", "labels": {**template["metadata"]["labels"], **labels}}
        spec = {**template["spec"], "schedulerName": "nobody"}
        self.core.create_namespaced_pod(self.namespace, {"metadata": meta, "spec": spec})
        running = {"running": {"startedAt": "2026-03-01T12:00:00Z"}}
        status = {"name": "pytorch", "state": running, "ready": True, "restartCount": 0, "image": "i", "imageID": ""}
        self.core.patch_namespaced_pod_status(
            meta["name"], self.namespace, {"status": {"phase": "Running", "containerStatuses": [status]}}
        )
        return str(meta["name"])


def test_a_rank_lost_inside_a_gap_is_noticed_when_the_watch_begins_anew(
    client: Any,
    namespace: str,
    kubeflow: None,  # noqa: ARG001  its kind has to be there first
    tmp_path: Path,
) -> None:
    place = Place(client, namespace)
    with api_proxy(client.configuration, tmp_path) as (kubeconfig, faults):
        replica = start_replica("a", namespace, folder=tmp_path, KUBECONFIG=str(kubeconfig))
        try:
            eventually(lambda: len(place.gangs()) == 1, within_s=WITHIN_S)
            pod = place.run_pod()
            eventually(lambda: bool(place.stage().get("pods")), within_s=WITHIN_S)
            gap = faults.gap.setdefault("pods", threading.Event())
            # The cut is seen at the next line of the watch, which is not passed on.
            place.core.delete_namespaced_pod(pod, namespace, grace_period_seconds=0)
            gap.set()
            eventually(lambda: place.stage().get("attempt") == 2, within_s=WITHIN_S)
        finally:
            replica.end()
    assert [record["reason"] for record in place.stage()["history"]] == ["Lost"]
