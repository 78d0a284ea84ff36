"""What goes wrong under a gang of two pods on two nodes, and what the job makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.eventually import eventually
from support.exit_watch import ExitWatch, exit_watch
from support.kubectl import Kubectl
from support.scripted_jobs import JobsOf, apart, watched_jobs

kubernetes = pytest.importorskip("kubernetes")

pytestmark = pytest.mark.timeout(600)

GANGS = ("killed", "force-deleted", "evicted", "suspended")
HELD = {"finetune": [{"waits": 3}]}
"""The first attempt commits step 2 and stands at step 3; the next one goes through."""
NUM_REMADE = {"killed": 0, "force-deleted": 1, "evicted": 1, "suspended": 0}
"""Pods that the Training Operator may have made anew in the place of a deleted one by the time the gang is stopped."""
ROW = "rows.json row 41207: image missing.png is missing"


@pytest.fixture(scope="module")
def pods(client: Any, shared_namespace: str) -> Iterator[ExitWatch]:
    with exit_watch(client, shared_namespace) as seen:
        yield seen


@pytest.fixture(scope="module")
def jobs(
    client: Any,
    shared_namespace: str,
    nodes: list[str],  # noqa: ARG001  they have to be there
    pods: ExitWatch,  # noqa: ARG001  it has to watch from the start
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[JobsOf]:
    with watched_jobs(client, shared_namespace, tmp_path_factory.mktemp("operator")) as jobs:
        yield jobs


@pytest.fixture(scope="module")
def gangs(jobs: JobsOf, client: Any) -> JobsOf:
    """Gangs to which all of it happened at the same step."""
    core = kubernetes.client.CoreV1Api(client)
    for name in GANGS:
        jobs.create(name, HELD, workers__replicas=2, workers__podTemplate__affinity=apart(name))
    for name in GANGS:
        jobs.holds(name, num_ranks=2)
    victims = {name: jobs.pods(name, "finetune") for name in GANGS}
    assert {len({pod.spec.node_name for pod in gang}) for gang in victims.values()} == {2}
    kill_rank(jobs, "killed", rank=1)
    core.delete_namespaced_pod(victims["force-deleted"][0].metadata.name, jobs.namespace, grace_period_seconds=0)
    evicted = victims["evicted"][1].metadata.name
    core.create_namespaced_pod_eviction(evicted, jobs.namespace, {"metadata": {"name": evicted}})
    jobs.suspend("suspended", True)
    eventually(lambda: jobs.phase("suspended") == "Suspended" and jobs.pods("suspended", "finetune") == [])
    jobs.suspend("suspended", False)
    return jobs


def kill_rank(jobs: JobsOf, name: str, *, rank: int) -> None:
    """Send SIGKILL to the process that trains, as the kernel does when memory runs out."""
    (start,) = (entry for entry in jobs.journal.of(name, "start", stage="finetune") if entry.rank == rank)
    command = ("exec", start.said["pod"], "--container=pytorch", "--", "kill", "-9", str(start.said["pid"]))
    Kubectl(jobs.namespace)(*command)


@pytest.mark.parametrize(
    ("name", "reason", "budget"), [("killed", "Killed", 1), ("force-deleted", "Lost", 1), ("evicted", "Terminated", 0)]
)
def test_a_pod_that_goes_costs_its_gang_one_restart(gangs: JobsOf, name: str, reason: str, budget: int) -> None:
    status = gangs.ends(name)
    reasons = [record["reason"] for record in gangs.stage(name)["history"]]
    assert (status["restarts"], status["budgetUsed"], reasons) == (1, budget, [reason])


@pytest.mark.parametrize("name", GANGS)
def test_the_whole_gang_goes_on_from_the_newest_commit(gangs: JobsOf, name: str) -> None:
    gangs.ends(name)
    starts = gangs.journal.starts(name)
    assert set(starts) == {("prepare", 1, 0), *(("finetune", a, r) for a in (1, 2) for r in (0, 1))}
    assert len(starts) - len(set(starts)) <= NUM_REMADE[name], starts
    commits = [entry.said["step"] for entry in gangs.journal.of(name, "commit", attempt=1)]
    assert gangs.journal.begins_at(name, "finetune", 2) == max(commits) >= 2
    assert gangs.stage(name)["checkpoint"]["step"] == 4


@pytest.mark.parametrize("name", GANGS)
def test_no_two_gangs_live_at_once(gangs: JobsOf, name: str) -> None:
    gangs.ends(name)
    first = gangs.journal.of(name, "end", attempt=1, stage="finetune")
    second = gangs.journal.of(name, "start", attempt=2, stage="finetune")
    assert max(entry.time for entry in first) < min(entry.time for entry in second)


def test_suspension_is_not_charged(gangs: JobsOf) -> None:
    status = gangs.ends("suspended")
    assert (status["budgetUsed"], gangs.stage("suspended").get("history")) == (0, None)


def test_a_loss_that_is_no_number_goes_back_one_commit(jobs: JobsOf) -> None:
    jobs.create("nan", {"finetune": [{"exit": 77, "at": 5, "steps": 6}, {"steps": 6}]})
    jobs.ends("nan")
    assert [entry.said["step"] for entry in jobs.journal.of("nan", "commit", attempt=1)] == [2, 4]
    assert jobs.journal.begins_at("nan", "finetune", 2) == 2


def test_bad_data_fail_the_job_before_a_gpu_is_asked_for(jobs: JobsOf, pods: ExitWatch) -> None:
    bad = {"prepare": [{"exit": 12, "message": ROW}]}
    jobs.create("bad-data", bad, workers__gpusPerWorker=8, workers__replicas=2)
    jobs.ends("bad-data", "Failed")
    assert ROW in jobs.condition("bad-data", "Failed")["message"]
    assert jobs.journal.starts("bad-data") == [("prepare", 1, 0)]
    mine = {name: limits for name, limits in pods.resources.items() if name.startswith("bad-data-")}
    assert list(mine.values()) == [{}]
