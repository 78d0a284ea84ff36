"""The operator as a process, against a real API server without nodes: what exists is what it wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.eventually import eventually
from support.replicas import Replica, start_replica
from support.tree import ROOT

kubernetes = pytest.importorskip("kubernetes")

JOB = yaml.safe_load((ROOT / "examples/tiny/llava-finetune.yaml").read_text())
Start = Callable[[str], Replica]


class Place:
    """A namespace as a user sees it."""

    def __init__(self, client: Any, namespace: str) -> None:
        self.namespace = namespace
        self.objects = kubernetes.client.CustomObjectsApi(client)
        self.leases = kubernetes.client.CoordinationV1Api(client)

    def create_job(self) -> None:
        body = {**JOB, "metadata": {"name": "llava"}}
        self.objects.create_namespaced_custom_object("llava.dev", "v1alpha1", self.namespace, "llavatrainjobs", body)

    def job(self) -> Any:
        where = ("llava.dev", "v1alpha1", self.namespace, "llavatrainjobs", "llava")
        return self.objects.get_namespaced_custom_object(*where)

    def suspend(self, value: bool) -> None:
        where = ("llava.dev", "v1alpha1", self.namespace, "llavatrainjobs", "llava")
        self.objects.patch_namespaced_custom_object(*where, {"spec": {"runPolicy": {"suspend": value}}})

    def gangs(self) -> list[str]:
        found = self.objects.list_namespaced_custom_object("kubeflow.org", "v1", self.namespace, "pytorchjobs")
        return sorted(str(body["metadata"]["name"]) for body in found["items"])

    def leader(self) -> str:
        """Name of the replica that holds the Lease; empty when nobody does."""
        try:
            lease = self.leases.read_namespaced_lease("llava-operator", self.namespace)
        except kubernetes.client.ApiException:
            return ""
        return str(lease.spec.holder_identity or "").partition("_")[0]


@pytest.fixture
def place(client: Any, namespace: str, kubeflow: None) -> Place:  # noqa: ARG001  its kind has to be there first
    return Place(client, namespace)


@pytest.fixture
def start(place: Place, tmp_path: Path) -> Iterator[Start]:
    started: list[Replica] = []

    def start_one(name: str) -> Replica:
        started.append(start_replica(name, place.namespace, folder=tmp_path))
        return started[-1]

    yield start_one
    for replica in started:
        replica.end()


def test_a_job_gets_one_gang_and_status_names_it(place: Place, start: Start) -> None:
    start("a")
    place.create_job()
    eventually(lambda: len(place.gangs()) == 1)
    stage = place.job()["status"]["stages"][0]
    assert (stage["name"], stage["jobName"]) == ("prepare", place.gangs()[0])


def test_a_users_object_gets_no_finalizer_and_no_annotation(place: Place, start: Start) -> None:
    start("a")
    place.create_job()
    eventually(lambda: len(place.gangs()) == 1)
    assert not {"annotations", "finalizers"} & set(place.job()["metadata"])


def test_an_operator_that_leaves_gives_the_lease_back(place: Place, start: Start) -> None:
    replica = start("a")
    eventually(lambda: place.leader() == "a")
    assert (replica.end(), place.leader()) == (0, "")


def test_a_frozen_leader_is_replaced_and_makes_nothing_when_it_wakes(place: Place, start: Start) -> None:
    first = start("a")
    eventually(lambda: place.leader() == "a")
    second = start("b")
    place.create_job()
    eventually(lambda: len(place.gangs()) == 1)
    first.freeze()
    eventually(lambda: place.leader() == "b", within_s=60)
    place.suspend(True)
    eventually(lambda: place.gangs() == [])
    place.suspend(False)
    eventually(lambda: len(place.gangs()) == 1)
    wanted = place.gangs()
    first.wake()
    assert first.process.wait(10) == 75
    assert (place.gangs(), place.leader(), second.process.poll()) == (wanted, "b", None)
    assert place.job()["status"]["stages"][0]["jobName"] == wanted[0]


def test_an_operator_killed_at_once_leaves_one_gang_to_the_next(place: Place, start: Start) -> None:
    first = start("a")
    place.create_job()
    eventually(lambda: len(place.gangs()) == 1)
    first.process.kill()
    wanted = place.gangs()
    start("b")
    eventually(lambda: place.leader() == "b", within_s=60)
    place.suspend(True)
    eventually(lambda: place.gangs() == [])
    assert len(wanted) == 1
