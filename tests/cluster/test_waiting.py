"""Pods that cannot run: status says why within seconds, nothing is charged, and the job goes on once that is mended."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from support import images
from support.eventually import eventually
from support.namespaces import made_namespace
from support.scripted_jobs import JobsOf, watched_jobs

kubernetes = pytest.importorskip("kubernetes")

pytestmark = pytest.mark.timeout(600)

SOON_S = 10
"""From when the cluster itself says it."""
LABEL = f"llava.dev/test-{uuid.uuid4().hex[:8]}"
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


@dataclass(frozen=True)
class Lack:
    """What a job lacks, the words in which the cluster says so, and how somebody mends it."""

    name: str
    changes: dict[str, Any]
    words: str
    mend: Callable[[JobsOf], Any]
    attempt: int = 1
    """The one that prepares the data in the end."""

    def __str__(self) -> str:
        return self.name


def core(jobs: JobsOf) -> Any:
    return kubernetes.client.CoreV1Api(jobs.api)


def label_a_node(jobs: JobsOf) -> None:
    node = core(jobs).list_node().items[0].metadata.name
    core(jobs).patch_node(node, {"metadata": {"labels": {LABEL: "here"}}})


def make_secret(jobs: JobsOf) -> None:
    core(jobs).create_namespaced_secret(jobs.namespace, {"metadata": {"name": "keys"}, "stringData": KEYS})


def make_settings(jobs: JobsOf) -> None:
    core(jobs).create_namespaced_config_map(jobs.namespace, {"metadata": {"name": "settings"}, "data": {"a": "b"}})


def lift_quota(jobs: JobsOf) -> None:
    core(jobs).delete_namespaced_resource_quota("none", jobs.namespace)


def name_another_image(jobs: JobsOf) -> None:
    jobs.suspend("image", True)
    jobs.edit("image", workers__image=images.SCRIPTED)
    eventually(lambda: jobs.pods("image") == [])
    jobs.suspend("image", False)


OVERLAY = "workers__cpu__podTemplate__"
SETTINGS = {
    f"{OVERLAY}volumes": [{"name": "settings", "configMap": {"name": "settings"}}],
    f"{OVERLAY}volumeMounts": [{"name": "settings", "mountPath": "/settings"}],
}
SECRET = {"storage__uri": "s3://bucket/prefix", "storage__credentialsSecretName": "keys"}
LACKS = [
    Lack("image", {"workers__image": images.MISSING}, "not found", name_another_image, attempt=2),
    Lack("node", {f"{OVERLAY}nodeSelector": {LABEL: "here"}}, "node affinity/selector", label_a_node),
    Lack("secret", SECRET, 'secret "keys" not found', make_secret),
    Lack("volume", SETTINGS, 'configmap "settings" not found', make_settings),
    Lack("quota", {}, "exceeded quota: none", lift_quota),
]


@dataclass
class Waiting:
    """Jobs that lack something, and when who first said so."""

    jobs: JobsOf
    full: JobsOf
    """Where the quota is used up."""
    told: dict[str, float] = field(default_factory=dict)
    known: dict[str, float] = field(default_factory=dict)

    def of(self, lack: Lack) -> JobsOf:
        return self.full if lack.name == "quota" else self.jobs

    def all_told(self) -> bool:
        """Look once at what the cluster and what our resource say."""
        for lack in LACKS:
            jobs = self.of(lack)
            if lack.words in clusters_word(jobs, lack.name):
                self.known.setdefault(lack.name, time.monotonic())
            if lack.words in jobs.condition(lack.name, "Ready").get("message", ""):
                self.told.setdefault(lack.name, time.monotonic())
        return len(self.told) == len(LACKS)


def clusters_word(jobs: JobsOf, name: str) -> str:
    """What pods and Events say about a job's pods."""
    events = core(jobs).list_namespaced_event(jobs.namespace).items
    about = [event for event in events if event.involved_object.name.startswith(f"{name}-")]
    states = [status.state.waiting for pod in jobs.pods(name) for status in pod.status.container_statuses or ()]
    return " ".join(str(one.message) for one in [*about, *filter(None, states)])


@pytest.fixture(scope="module")
def waiting(
    client: Any, shared_namespace: str, nodes: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Waiting]:
    """All of them at once, told and then mended."""
    folder = tmp_path_factory.mktemp("operator")
    with (
        made_namespace(client) as full,
        watched_jobs(client, shared_namespace, folder, beside=(full,)) as jobs,
    ):
        waiting = Waiting(jobs, replace(jobs, namespace=full))
        quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
        core(jobs).create_namespaced_resource_quota(full, quota)
        eventually(lambda: bool(core(jobs).read_namespaced_resource_quota_status("none", full).status.hard))
        for lack in LACKS:
            waiting.of(lack).create(lack.name, **lack.changes)
        eventually(waiting.all_told, within_s=120)
        phases = {lack.name: waiting.of(lack).phase(lack.name) for lack in LACKS}
        assert set(phases.values()) == {"Pending"}, phases
        for lack in LACKS:
            lack.mend(waiting.of(lack))
        yield waiting
        for node in nodes:
            core(jobs).patch_node(node, {"metadata": {"labels": {LABEL: None}}})


@pytest.mark.parametrize("lack", LACKS, ids=str)
def test_status_says_within_seconds_what_is_lacking(waiting: Waiting, lack: Lack) -> None:
    late_s = waiting.told[lack.name] - waiting.known[lack.name]
    assert late_s <= SOON_S


@pytest.mark.parametrize("lack", LACKS, ids=str)
def test_it_goes_on_once_mended_and_nothing_was_charged(waiting: Waiting, lack: Lack) -> None:
    jobs = waiting.of(lack)
    status = jobs.ends(lack.name)
    assert (status["budgetUsed"], jobs.stage(lack.name, "prepare").get("history")) == (0, None)
    assert jobs.journal.starts(lack.name) == [("finetune", 1, 0), ("prepare", lack.attempt, 0)]
