"""kopf against a real API server: what it never says, and what we make of it."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llava_contract.run import JobKind
from llava_operator.census import Census
from llava_operator.core.job import Key
from llava_operator.store import OWNER_UID, Kind, Store
from support.api_proxy import Faults, api_proxy
from support.eventually import eventually
from support.tree import ROOT

kubernetes = pytest.importorskip("kubernetes")
watching = pytest.importorskip("llava_operator.watch")
connect = pytest.importorskip("llava_operator.kube").connect

JOB = yaml.safe_load((ROOT / "examples/tiny/llava-finetune.yaml").read_text())
PATIENCE_S = 30.0


class Watched:
    """A namespace with one job, seen through a proxy."""

    def __init__(self, client: Any, namespace: str, faults: Faults) -> None:
        self.faults, self.namespace = faults, namespace
        self.core = kubernetes.client.CoreV1Api(client)
        self.jobs = kubernetes.client.CustomObjectsApi(client)
        self.store = Store(time.monotonic)
        self.woken: queue.Queue[Key] = queue.Queue()
        self.listed_with: list[int] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        body = {**JOB, "metadata": {"name": "llava"}}
        made = self.jobs.create_namespaced_custom_object("llava.dev", "v1alpha1", namespace, "llavatrainjobs", body)
        self.uid = str(made["metadata"]["uid"])

    def job(self) -> Any:
        return self.jobs.get_namespaced_custom_object(
            "llava.dev", "v1alpha1", self.namespace, "llavatrainjobs", "llava"
        )

    def make_pod(self, name: str) -> None:
        container = {"name": "pytorch", "image": "none"}
        body = {"metadata": {"name": name, "labels": {OWNER_UID: self.uid}}, "spec": {"containers": [container]}}
        self.core.create_namespaced_pod(self.namespace, body)

    def delete_pod(self, name: str) -> None:
        self.core.delete_namespaced_pod(name, self.namespace, grace_period_seconds=0)

    def live_pods(self) -> list[Any]:
        answer = self.core.list_namespaced_pod(
            self.namespace, label_selector=f"{OWNER_UID}={self.uid}", _preload_content=False
        )
        return list(yaml.safe_load(answer.data)["items"])

    def pods(self) -> set[str]:
        return {str(pod.body["metadata"]["name"]) for pod in self.store.children(Kind.POD, self.uid)}

    def listed(self) -> None:
        self.listed_with.append(len(self.pods()))

    def run(self) -> None:
        told = watching.Told(self.woken.put, self.listed, lambda *_: None)
        watching.watch(self.store, told, namespaces=(self.namespace,), stop=self.stop)


@pytest.fixture
def watched(client: Any, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    with api_proxy(client.configuration, tmp_path) as (kubeconfig, faults):
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        made = Watched(client, namespace, faults)
        yield made
        made.stop.set()
        made.thread.join(PATIENCE_S)
        assert not made.thread.is_alive()


def test_a_deletion_inside_a_gap_is_never_told_and_a_live_list_finds_it(watched: Watched) -> None:
    watched.make_pod("lost"), watched.make_pod("kept")
    watched.thread.start()
    eventually(lambda: watched.store.is_complete and watched.pods() == {"lost", "kept"})
    gap = watched.faults.gap.setdefault("pods", threading.Event())
    # The cut is seen at the next line of the watch, which is not passed on.
    watched.make_pod("new")
    watched.delete_pod("lost")
    lists = watched.faults.num_lists["pods"]
    gap.set()
    eventually(lambda: watched.faults.num_lists["pods"] > lists and "new" in watched.pods())
    assert watched.pods() == {"lost", "kept", "new"}
    watched.store.refresh(Kind.POD, watched.uid, live=watched.live_pods)
    assert watched.pods() == {"kept", "new"}
    assert [str(pod.body["metadata"]["name"]) for pod in watched.store.departed(Kind.POD, watched.uid)] == ["lost"]


def test_a_list_anew_is_noticed_even_if_nothing_is_left_to_list_and_a_count_finds_whom_it_concerns(
    watched: Watched,
) -> None:
    watched.make_pod("lost")
    watched.thread.start()
    eventually(lambda: watched.store.is_complete and watched.pods() == {"lost"})
    gap = watched.faults.gap.setdefault("pods", threading.Event())
    # The cut is seen at the next line of the watch, which is not passed on.
    watched.core.patch_namespaced_pod("lost", watched.namespace, {"metadata": {"labels": {"a": "b"}}})
    watched.delete_pod("lost")
    eventually(lambda: watched.live_pods() == [])
    noticed = len(watched.listed_with)
    gap.set()
    eventually(lambda: len(watched.listed_with) > noticed)
    assert watched.pods() == {"lost"}
    census = Census(connect(), watched.store, namespaces=(watched.namespace,), every_s=60)
    assert census.take() == {Key(JobKind.TRAIN, watched.namespace, "llava")}


def test_nothing_is_decided_before_the_slowest_list_has_come(watched: Watched) -> None:
    watched.make_pod("slow")
    held = watched.faults.listing.setdefault("pods", threading.Event())
    watched.thread.start()
    eventually(lambda: watched.store.uids(Key(JobKind.TRAIN, watched.namespace, "llava")) == [watched.uid])
    assert (watched.store.is_complete, watched.woken.empty(), watched.pods()) == (False, True, set())
    held.set()
    eventually(lambda: watched.store.is_complete)
    assert watched.listed_with == [1]


def test_watching_leaves_no_trace_on_a_users_object(watched: Watched) -> None:
    before = watched.job()
    watched.thread.start()
    eventually(lambda: watched.store.is_complete and not watched.woken.empty())
    assert watched.job() == before
    assert not {"annotations", "finalizers"} & set(before["metadata"])


def test_the_user_need_not_have_a_name(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a container, whose user no file knows.
    monkeypatch.setattr("getpass.getuser", lambda: {}[os.getuid()])
    watched.thread.start()
    eventually(lambda: watched.store.is_complete)


def test_a_deleted_job_is_told_and_takes_its_pods_along(watched: Watched) -> None:
    watched.make_pod("child")
    watched.thread.start()
    eventually(lambda: watched.store.is_complete and watched.pods() == {"child"})
    watched.jobs.delete_namespaced_custom_object("llava.dev", "v1alpha1", watched.namespace, "llavatrainjobs", "llava")
    eventually(lambda: watched.store.jobs() == [])
    # Kubelets may tell of pods that are being deleted.
    eventually(lambda: watched.pods() == set())
