"""A deleted job leaves nothing behind, whenever it is deleted and whether or not anybody watches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.eventually import eventually
from support.replicas import start_replica
from support.scripted_jobs import JobsOf, unwatched_jobs

pytestmark = pytest.mark.timeout(600)

GONE_S = 30
HELD = {"prepare": [{"waits": 0}], "finetune": [{"waits": 3}]}
MOMENTS = ("at-once", "in-prepare", "between-stages", "in-finetune", "restarting", "suspended")
UNWATCHED = ("in-prepare-unwatched", "in-finetune-unwatched", "restarting-unwatched")


def bring(jobs: JobsOf, name: str) -> None:
    """Bring a job to its moment."""
    moment = name.removesuffix("-unwatched")
    if moment == "at-once":
        return
    eventually(lambda: jobs.journal.num_waiting(name, "prepare") == 1, within_s=120)
    if moment == "in-prepare":
        return
    jobs.journal.let_go(name, "prepare")
    if moment == "between-stages":
        eventually(lambda: jobs.stage(name, "prepare")["state"] == "Succeeded", within_s=60)
        return
    if moment == "restarting":
        eventually(lambda: len(jobs.stage(name).get("history", [])) >= 2, within_s=120)
        return
    jobs.holds(name, num_ranks=2)
    if moment == "suspended":
        jobs.suspend(name, True)
        eventually(lambda: jobs.phase(name) == "Suspended", within_s=60)


def script_of(name: str) -> dict[str, Any]:
    fails = {"finetune": [{"exit": 75, "at": 1, "rank": 1}] * 2}
    return HELD | fails if name.startswith("restarting") else HELD


@pytest.fixture(scope="module")
def jobs(
    client: Any, shared_namespace: str, nodes: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JobsOf]:
    """All jobs deleted, the last three after their operator was killed."""
    assert nodes
    with unwatched_jobs(client, shared_namespace) as jobs:
        operator = start_replica("operator", shared_namespace, folder=tmp_path_factory.mktemp("operator"))
        try:
            for name in (*MOMENTS, *UNWATCHED):
                jobs.create(name, script_of(name), workers__replicas=2)
            for name in (*MOMENTS, *UNWATCHED):
                bring(jobs, name)
            for name in MOMENTS:
                jobs.delete(name)
            assert all(jobs.children(name) for name in UNWATCHED)
            operator.process.kill()
            for name in UNWATCHED:
                jobs.delete(name)
            yield jobs
        finally:
            operator.process.kill()
            operator.process.wait()
            print(operator.log_file.read_text()[-20_000:])


@pytest.mark.parametrize("name", [*MOMENTS, *UNWATCHED])
def test_nothing_is_left_of_a_deleted_job(jobs: JobsOf, name: str) -> None:
    eventually(lambda: jobs.children(name) == [], within_s=GONE_S)


@pytest.mark.parametrize("name", [*MOMENTS, *UNWATCHED])
def test_no_attempt_begins_after_the_deletion(jobs: JobsOf, name: str) -> None:
    last = max((attempt for _, attempt, _ in jobs.journal.starts(name)), default=0)
    assert last <= (3 if name.startswith("restarting") else 1)
