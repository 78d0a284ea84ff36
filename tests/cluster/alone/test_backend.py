"""The cluster backend and the job's resources against a real API server; pods' status is written by the test."""

from __future__ import annotations

import time
from typing import Any

import pytest

from llava_contract.run import JobKind
from llava_operator.backends.pod_warnings import PodWarnings
from llava_operator.backends.pytorchjob import PyTorchJobBackend
from llava_operator.backends.rendering import PodSettings
from llava_operator.cluster_resources import ClusterResources
from llava_operator.core.decision import Decision, StartAttempt
from llava_operator.core.job import Key
from llava_operator.reconcile import reconcile
from support.eventually import eventually
from support.jobs import NOON
from support.kinds import NEW_KINDS_S
from support.specs import PLAIN, changed

kubernetes = pytest.importorskip("kubernetes", reason="the operator extra is not installed: make init")
kube = pytest.importorskip("llava_operator.kube", reason="the operator extra is not installed: make init")

pytestmark = pytest.mark.usefixtures("kubeflow")
TWO = {"replicas": 2, "gpusPerWorker": 0, "ranksPerWorker": 1}
# No kubelet may have an opinion about pods whose status the test writes.
NOWHERE = {"podTemplate": {"nodeSelector": {"llava.dev/test": "no-such-node"}}}
ABSOLUTE: dict[str, Any] = {"spec.storage.uri": "/jobs/demo", "spec.workers": {**TWO, "cpu": NOWHERE}}


class Bench:
    """One job in one namespace, reconciled by hand."""

    def __init__(self, namespace: str) -> None:
        self.cluster = kube.connect()
        self.key = Key(JobKind.TRAIN, namespace, "demo")
        self.resources = ClusterResources(self.cluster)
        self.backend = PyTorchJobBackend(
            self.cluster,
            namespace,
            settings=PodSettings(image="trainer:test"),
            warnings=PodWarnings(self.cluster, time.monotonic),
        )
        body = changed(PLAIN, {**ABSOLUTE, "metadata.namespace": namespace})
        self.cluster.create("llavatrainjobs", body)

    def step(self) -> Decision:
        return reconcile(self.key, self.resources, backend=self.backend, now=NOON)

    def job(self) -> dict[str, Any]:
        found = self.cluster.read("llavatrainjobs", self.key.namespace, name="demo")
        assert found is not None
        return dict(found)

    def child(self) -> str:
        return next(str(stage["jobName"]) for stage in self.job()["status"]["stages"] if "jobName" in stage)


@pytest.fixture
def bench(namespace: str) -> Bench:
    return Bench(namespace)


def make_pod(client: Any, bench: Bench, *, status: dict[str, Any]) -> None:
    """Make the attempt's only pod, if no Training Operator does, and say how it is."""
    api, child = kubernetes.client.CoreV1Api(client), bench.child()
    made = bench.cluster.read("pytorchjobs", bench.key.namespace, name=child)
    assert made is not None
    template = made["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    labels = {**template["metadata"]["labels"], "training.kubeflow.org/job-name": child,
              "training.kubeflow.org/replica-index": "0"}  # fmt: skip
    name, namespace = f"{child}-worker-0", bench.key.namespace
    try:
        api.create_namespaced_pod(namespace, {"metadata": {"name": name, "labels": labels}, "spec": template["spec"]})
    except kubernetes.client.ApiException as error:
        if error.status != 409:
            raise
    api.patch_namespaced_pod_status(name, namespace, {"status": status})


def container(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "pytorch", "state": state, "ready": False, "restartCount": 0, "image": "i", "imageID": ""}


def test_a_job_starts_as_a_run_file_and_a_gang_that_it_owns(bench: Bench) -> None:
    assert isinstance(bench.step(), StartAttempt)
    uid = bench.job()["metadata"]["uid"]
    for kind in ("configmaps", "pytorchjobs"):
        (body,) = bench.cluster.list_owned(kind, bench.key.namespace, owner_uid=uid)
        (owner,) = body["metadata"]["ownerReferences"]
        assert (body["metadata"]["name"], owner["uid"]) == (bench.child(), uid)
        assert not body["metadata"].get("finalizers")


def test_a_second_operator_makes_no_second_gang(bench: Bench) -> None:
    bench.step()
    bench.step()
    uid = bench.job()["metadata"]["uid"]
    assert len(bench.cluster.list_owned("pytorchjobs", bench.key.namespace, owner_uid=uid)) == 1


def test_an_image_that_cannot_be_pulled_is_pending_and_costs_nothing(client: Any, bench: Bench) -> None:
    bench.step()
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    make_pod(client, bench, status={"phase": "Pending", "containerStatuses": [container(waiting)]})
    bench.step()
    status = bench.job()["status"]
    assert (status["phase"], status["restarts"], status["budgetUsed"]) == ("Pending", 0, 0)
    assert "image i cannot be pulled" in status["stages"][0]["message"]


@pytest.mark.parametrize(("code", "phase"), [(75, "Restarting"), (143, "Restarting"), (12, "Failed")])
def test_an_exit_code_becomes_what_its_cause_says(client: Any, bench: Bench, code: int, phase: str) -> None:
    bench.step()
    running = {"running": {"startedAt": "2026-03-01T12:00:00Z"}}
    make_pod(client, bench, status={"phase": "Running", "containerStatuses": [container(running)]})
    bench.step()
    assert len(bench.job()["status"]["stages"][0]["pods"]) == 1
    ended = {"terminated": {"exitCode": code, "reason": "Error", "finishedAt": "2026-03-01T12:00:09Z"}}
    make_pod(client, bench, status={"phase": "Failed", "containerStatuses": [container(ended)]})
    bench.step()
    status = bench.job()["status"]
    assert (status["phase"], status["stages"][0]["history"][0]["exitCode"]) == (phase, code)
    left = bench.cluster.read("pytorchjobs", bench.key.namespace, name=bench.child())
    # What a job failed with stays for its logs; what is tried again goes at once.
    assert (left is None) == (phase == "Restarting")


def test_a_deleted_job_takes_everything_along(bench: Bench) -> None:
    bench.step()
    uid = bench.job()["metadata"]["uid"]
    bench.cluster.delete("llavatrainjobs", bench.key.namespace, name="demo", uid=uid)

    def is_empty() -> bool:
        kinds = ("configmaps", "pytorchjobs", "pods")
        return not any(bench.cluster.list_owned(kind, bench.key.namespace, owner_uid=uid) for kind in kinds)

    eventually(is_empty, within_s=NEW_KINDS_S)


def test_a_gang_runs_where_pod_security_is_restricted(client: Any, bench: Bench) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubernetes.client.CoreV1Api(client).patch_namespace(bench.key.namespace, {"metadata": {"labels": labels}})
    bench.step()
    make_pod(client, bench, status={"phase": "Pending"})
    uid = bench.job()["metadata"]["uid"]
    assert len(bench.cluster.list_owned("pods", bench.key.namespace, owner_uid=uid)) == 1


def test_events_tell_of_the_start(client: Any, bench: Bench) -> None:
    bench.step()
    about = f"involvedObject.uid={bench.job()['metadata']['uid']}"
    told = kubernetes.client.CoreV1Api(client).list_namespaced_event(bench.key.namespace, field_selector=about).items
    assert [event.reason for event in told] == ["AttemptStarted"]
