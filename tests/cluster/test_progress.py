"""Progress on real nodes: the operator asks pods, shows what they tell, and ends a gang that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.eventually import eventually
from support.kubectl import Kubectl
from support.scripted_jobs import JobsOf, watched_jobs

pytestmark = pytest.mark.timeout(600)

HELD = [{"steps": 90, "waits": 13}]
"""Attempt 1 stands at step 13, committed at 12, until it is let go; later ones do not."""


@pytest.fixture(scope="module")
def jobs(
    client: Any, shared_namespace: str, nodes: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JobsOf]:
    """One job that may stand for half an hour, and one that may for 30 s."""
    assert nodes
    with watched_jobs(client, shared_namespace, tmp_path_factory.mktemp("operator")) as jobs:
        jobs.create("slow", {"finetune": HELD})
        jobs.create("hung", {"finetune": HELD}, runPolicy={"hangTimeoutSeconds": 30})
        yield jobs


def test_the_columns_are_what_the_pod_tells(jobs: JobsOf) -> None:
    eventually(lambda: "progress" in jobs.status("slow"), within_s=150)
    eventually(lambda: jobs.status("slow")["progress"]["summary"] == "13/90", within_s=60)
    row = Kubectl(jobs.namespace)("get", "ltj", "slow", "--no-headers").split()
    assert row[1:6] == ["finetune", "Running", "13/90", "0.5", "2h10"]


def test_a_commit_is_known_while_the_attempt_runs(jobs: JobsOf) -> None:
    eventually(lambda: jobs.stage("slow").get("checkpoint", {}).get("step") == 12, within_s=60)
    assert jobs.stage("slow")["state"] == "Running"


def test_a_gang_that_stands_still_is_restarted_from_its_last_commit(jobs: JobsOf) -> None:
    eventually(lambda: bool(jobs.stage("hung").get("history")), within_s=240)
    (record,) = jobs.stage("hung")["history"]
    assert (record["reason"], record["checkpointStep"]) == ("Hang", 12)
    jobs.ends("hung")
    (second,) = jobs.journal.of("hung", "start", stage="finetune", attempt=2)
    assert second.said["run"]["lastCommit"]["step"] == 12


def test_one_that_is_slow_is_left_alone(jobs: JobsOf) -> None:
    eventually(lambda: jobs.phase("hung") == "Succeeded", within_s=300)
    jobs.journal.let_go("slow")
    assert jobs.ends("slow")["restarts"] == 0
