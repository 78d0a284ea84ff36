"""The cluster backend over an API server in memory: what it makes, sees and deletes, and what it asks for that."""

from __future__ import annotations

from typing import Any

import pytest

from llava_operator.backends.base import Attempt
from llava_operator.backends.pod_warnings import PodWarnings
from llava_operator.backends.pytorchjob import Family, PyTorchJobBackend
from llava_operator.backends.rendering import PodSettings
from llava_operator.core.job import Job
from llava_operator.core.observe import AttemptState
from llava_operator.core.plan import plan_job
from llava_operator.core.runfile import run_config
from llava_operator.errors import Refused
from support.clock import Clock
from support.fake_cluster import FakeCluster
from support.jobs import NOON, job
from support.pods import CHILD, pod, pytorch_job, stamp

MADE = {"finetuneData": "/made/set2", "pretrainWeights": "/made/1"}


def backend(cluster: FakeCluster, family: Family | None = None) -> PyTorchJobBackend:
    children = (lambda _: family) if family else None
    warnings = PodWarnings(cluster, Clock())
    settings = PodSettings(image="i")
    return PyTorchJobBackend(
        cluster, "team", settings=settings, warnings=warnings, children=children, clock=lambda: NOON
    )


def warning(reason: str, message: str, *, about: dict[str, Any], kind: str) -> dict[str, Any]:
    involved = {"kind": kind, "uid": about["metadata"]["uid"]}
    return {"type": "Warning", "reason": reason, "message": message, "involvedObject": involved}


def owner() -> Job:
    return job().build()


def attempt() -> Attempt:
    built = owner()
    planned = next(one for one in plan_job(built).stages if one.stage == "finetune")
    built.status.artifacts.update(MADE)
    return Attempt(CHILD, planned, run_config(built, planned))


def test_the_run_file_is_there_before_the_gang() -> None:
    cluster = FakeCluster()
    backend(cluster).start(attempt())
    assert cluster.calls == ["create configmaps", "create pytorchjobs"]


def test_a_stranger_with_the_owners_label_is_no_member() -> None:
    stranger = {"metadata": {"name": "s", "uid": "s", "labels": {"llava.dev/owner-uid": owner().uid}}}
    assert backend(FakeCluster(), Family((), (stranger,))).observe(owner()).attempts == ()


def test_what_exists_is_adopted() -> None:
    cluster = FakeCluster()
    backend(cluster).start(attempt())
    backend(cluster).start(attempt())
    assert sorted(kind for kind, _ in cluster.objects) == ["configmaps", "pytorchjobs"]


def test_what_belongs_to_another_is_not_adopted() -> None:
    cluster = FakeCluster()
    cluster.put("pytorchjobs", {"metadata": {"name": CHILD, "uid": "x", "labels": {"llava.dev/owner-uid": "other"}}})
    with pytest.raises(Refused, match="not this job's"):
        backend(cluster).start(attempt())


def test_stopping_deletes_by_identity() -> None:
    cluster = FakeCluster()
    backend(cluster).start(attempt())
    backend(cluster).stop(CHILD)
    assert cluster.calls[-4:] == [
        "read pytorchjobs", f"delete pytorchjobs pytorchjobs-{CHILD}",
        "read configmaps", f"delete configmaps configmaps-{CHILD}",
    ]  # fmt: skip
    assert not cluster.objects


def test_stopping_leaves_what_is_not_ours() -> None:
    cluster = FakeCluster()
    cluster.put("pytorchjobs", {"metadata": {"name": CHILD, "uid": "x"}})
    backend(cluster).stop(CHILD)
    assert cluster.objects


def test_a_started_attempt_is_seen() -> None:
    cluster = FakeCluster()
    backend(cluster).start(attempt())
    (seen,) = backend(cluster).observe(owner()).attempts
    assert (seen.child, seen.attempt, seen.state) == (CHILD, 1, AttemptState.PENDING)


def test_events_are_asked_for_only_while_pods_are_missing() -> None:
    cluster = FakeCluster()
    cluster.put("pytorchjobs", pytorch_job(1))
    cluster.put("pods", pod(0).running().body())
    backend(cluster).observe(owner())
    assert cluster.calls == ["list pytorchjobs", "list pods"]


def test_an_exceeded_quota_is_told() -> None:
    cluster = FakeCluster()
    cluster.put("pytorchjobs", pytorch_job(1))
    cluster.events = [warning("FailedCreatePod", "exceeded quota", about=pytorch_job(1), kind="PyTorchJob")]
    (seen,) = backend(cluster).observe(owner()).attempts
    assert seen.waiting
    assert (seen.waiting.reason, seen.waiting.message) == ("FailedCreatePod", "exceeded quota")


@pytest.mark.parametrize(("age_s", "is_asked"), [(1, False), (2, True), (-60, True)])
def test_a_newborn_is_given_two_seconds_unless_the_clocks_differ(age_s: float, is_asked: bool) -> None:
    cluster = FakeCluster()
    cluster.put("pytorchjobs", pytorch_job(1, creationTimestamp=stamp(-age_s)))
    backend(cluster).observe(owner())
    assert ("list events" in cluster.calls) is is_asked


def test_pods_that_are_gone_are_remembered_evidence() -> None:
    family = Family((), (), (pod(0).ended(77).body(),))
    (seen,) = backend(FakeCluster(), family).observe(owner()).attempts
    assert (seen.state, seen.exit_code, seen.members) == (AttemptState.FAILED, 77, ())


def test_an_attempt_that_was_deleted_before_it_began_is_not_there() -> None:
    family = Family((), (), (pod(0).waits("ImagePullBackOff").body(), pod(1).running().body()))
    assert backend(FakeCluster(), family).observe(owner()).attempts == ()


def test_a_pod_that_does_not_start_is_asked_about() -> None:
    cluster = FakeCluster()
    cluster.put("pytorchjobs", pytorch_job(1))
    cluster.put("pods", pod(0).waits("ContainerCreating").body())
    cluster.events = [warning("FailedMount", "secret nope", about=pod(0).body(), kind="Pod")]
    (seen,) = backend(cluster).observe(owner()).attempts
    assert seen.waiting
    assert seen.waiting.reason == "FailedMount"
