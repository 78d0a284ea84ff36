"""The chart's own pods on nodes: as nobody, writing nowhere, in a namespace that admits only restricted pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support import images
from support.charts import CHART, helm
from support.kubectl import Kubectl
from support.scripted_jobs import unwatched_jobs

kubernetes = pytest.importorskip("kubernetes")
pytestmark = pytest.mark.timeout(300)
NAME = "chart-llava-operator"


@pytest.fixture(scope="module")
def installed(client: Any, shared_namespace: str, nodes: list[str]) -> Iterator[Kubectl]:  # noqa: ARG001  they have to be there
    """Two replicas that work in their own namespace only, whatever else runs in the cluster."""
    repository, _, tag = images.OPERATOR.rpartition(":")
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    kubernetes.client.CoreV1Api(client).patch_namespace(shared_namespace, label)
    values = {
        "image": {"repository": repository, "tag": tag}, "trainerImage": images.SCRIPTED, "replicas": 2,
        "crds": {"enabled": False}, "watchNamespaces": [shared_namespace],
    }  # fmt: skip
    words = ("chart", str(CHART), "--namespace", shared_namespace)
    done = helm("install", *words, "--values", "-", said=json.dumps(values))
    assert done.returncode == 0, done.stderr
    yield Kubectl(shared_namespace)
    helm("uninstall", "chart", "--namespace", shared_namespace)


def test_every_replica_becomes_ready_and_stays(installed: Kubectl) -> None:
    installed("rollout", "status", f"deployment/{NAME}", "--timeout=180s")
    pods = installed.json("get", "pods", "--selector", "app.kubernetes.io/instance=chart")["items"]
    told = [pod["status"]["containerStatuses"][0] for pod in pods]
    assert [(one["ready"], one["restartCount"]) for one in told] == [(True, 0)] * 2


def test_replicas_stand_on_different_nodes(installed: Kubectl) -> None:
    pods = installed.json("get", "pods", "--selector", "app.kubernetes.io/instance=chart")["items"]
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2


def test_they_bring_a_job_to_its_end(installed: Kubectl, client: Any) -> None:
    with unwatched_jobs(client, installed.namespace) as jobs:
        jobs.create("first")
        assert jobs.ends("first")["restarts"] == 0
