"""Five hundred looks at jobs that fail, restart, are suspended and lose pods: what status says is what is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.eventually import eventually
from support.scripted_jobs import JobsOf, apart, watched_jobs
from support.truth import Look, Truth

kubernetes = pytest.importorskip("kubernetes")

pytestmark = pytest.mark.timeout(600)

NUM_LOOKS = 500
LONG = {"steps": 120, "saves": 10, "paces": 0.5}
LIVES: dict[str, list[dict[str, Any]]] = {
    "calm": [LONG],
    "restarted": [{**LONG, "exit": 75, "at": 25, "rank": 1}, {**LONG, "exit": 74, "at": 55}, LONG],
    "back-one": [{**LONG, "exit": 77, "at": 35}, LONG],
    "suspended": [LONG] * 4,
    "bereft": [LONG] * 4,
    "hopeless": [{**LONG, "exit": 17, "at": 45, "message": "projector.pt: 3 keys are missing"}],
}
"""What finetune's attempts do."""
STRIKES = {("suspended", 1): 30, ("suspended", 2): 60, ("bereft", 1): 25, ("bereft", 2): 70}
"""Job and attempt to the step at which something comes from outside."""


class Sampler:
    """Looks, and does what users and clusters do meanwhile."""

    def __init__(self, jobs: JobsOf) -> None:
        self.jobs, self.truth = jobs, Truth(jobs.journal, num_workers=2)
        self.core = kubernetes.client.CoreV1Api(jobs.api)
        self.struck: set[tuple[str, int]] = set()

    def look(self) -> bool:
        """Take one look; True after the last one."""
        began = time.time()
        jobs = self.jobs.everything()
        pods = self.core.list_namespaced_pod(self.jobs.namespace).items
        look = Look(began, time.time(), jobs, pods)
        self.truth.compare(look)
        self.interfere(look)
        phases = {str((job.get("status") or {}).get("phase")) for job in jobs}
        return self.truth.num_looks >= NUM_LOOKS and phases <= {"Succeeded", "Failed"}

    def interfere(self, look: Look) -> None:
        """Suspend one job and take a pod from another, twice."""
        for (name, attempt), step in STRIKES.items():
            steps = self.jobs.journal.of(name, "step", stage="finetune", attempt=attempt)
            if (name, attempt) in self.struck or not steps or steps[-1].said["step"] < step:
                continue
            self.struck.add((name, attempt))
            if name == "suspended":
                self.jobs.suspend(name, True)
            else:
                victim = self.jobs.pods(name, "finetune")[-1].metadata.name
                self.core.delete_namespaced_pod(victim, self.jobs.namespace, grace_period_seconds=0)
        if self.jobs.phase("suspended") == "Suspended" and not look.alive("suspended"):
            self.jobs.suspend("suspended", False)


@pytest.fixture(scope="module")
def truth(
    client: Any, shared_namespace: str, nodes: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Truth]:
    assert nodes
    with watched_jobs(client, shared_namespace, tmp_path_factory.mktemp("operator")) as jobs:
        sampler = Sampler(jobs)
        for name, life in LIVES.items():
            jobs.create(name, {"finetune": life}, workers__replicas=2, workers__podTemplate__affinity=apart(name))
        eventually(sampler.look, within_s=500, every_s=0.1)
        print({kind: round(lasted_s, 1) for kind, lasted_s in sampler.truth.latest_s.items()})
        yield sampler.truth


def test_no_look_finds_a_lie(truth: Truth) -> None:
    assert truth.lies == [], "\n".join(truth.lies[:20])
    assert truth.num_looks >= NUM_LOOKS


@pytest.mark.parametrize(
    ("name", "attempts"), [("calm", 1), ("restarted", 3), ("back-one", 2), ("suspended", 3), ("bereft", 3)]
)
def test_the_looks_saw_what_they_were_meant_to_see(truth: Truth, name: str, attempts: int) -> None:
    starts = truth.journal.of(name, "start", stage="finetune")
    assert {entry.attempt for entry in starts} == set(range(1, attempts + 1))
