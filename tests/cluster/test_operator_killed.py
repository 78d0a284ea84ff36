"""The operator is killed with SIGKILL at its n-th write, before or after the API server took it: the job ends alike."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.api_proxy import api_proxy
from support.eventually import eventually
from support.namespaces import made_namespace
from support.replicas import Replica, start_replica
from support.scripted_jobs import JobsOf, unwatched_jobs

pytestmark = pytest.mark.timeout(600)

LIFE = {"finetune": [{"exit": 75, "at": 3}]}
"""Prepare, a failure in finetune, a restart from step 2, success."""


@dataclass(frozen=True)
class Moment:
    """The n-th write of a kind in the life of a job and its operator."""

    verb: str
    plural: str
    number: int = 1
    is_after: bool = True

    def __str__(self) -> str:
        return f"{'after' if self.is_after else 'before'}-{self.verb}-{self.plural}-{self.number}".lower()

    def fits(self, what: str) -> bool:
        verb, path = what.split()
        return verb == self.verb and f"/{self.plural}" in path


JOBS, GANGS = "llavatrainjobs", "pytorchjobs"
MOMENTS = [
    Moment("PATCH", JOBS, 1, is_after=False),
    Moment("PATCH", JOBS, 1),
    Moment("POST", GANGS, 1),
    Moment("PATCH", JOBS, 3),
    Moment("POST", GANGS, 2),
    Moment("PATCH", JOBS, 6),
    Moment("DELETE", GANGS, 1, is_after=False),
    Moment("DELETE", GANGS, 1),
]


@dataclass
class Victim:
    """One job and its operator."""

    moment: Moment
    jobs: JobsOf
    replica: Replica | None = None
    _writes: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def lets_through(self, what: str) -> bool:
        """Kill the writer before its write is done, if that is the moment; a dead one writes nothing."""
        if not self.moment.is_after and self.is_now(what):
            self.kill()
            return False
        return True

    def was_written(self, what: str) -> None:
        """Kill the writer before it hears that its write is done, if that is the moment."""
        if self.moment.is_after and self.is_now(what):
            self.kill()

    def is_now(self, what: str) -> bool:
        return self.moment.fits(what) and next(self._writes) == self.moment.number

    def kill(self) -> None:
        assert self.replica is not None
        self.replica.process.kill()


@pytest.fixture(scope="module")
def victims(
    client: Any,
    crds: None,  # noqa: ARG001  they have to be there first
    nodes: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[Victim]]:
    """Each in a namespace of its own, killed and followed by another operator."""
    assert nodes
    with ExitStack() as stack:
        journal = stack.enter_context(unwatched_jobs(client, "")).journal
        victims = []
        for moment in MOMENTS:
            namespace = stack.enter_context(made_namespace(client))
            victims.append(victim := Victim(moment, JobsOf(namespace, client, journal)))
            folder = tmp_path_factory.mktemp(str(moment))
            kubeconfig, faults = stack.enter_context(api_proxy(client.configuration, folder))
            faults.lets_through, faults.was_written = victim.lets_through, victim.was_written
            victim.jobs.create(str(moment), LIFE)
            victim.replica = start_replica("first", namespace, folder=folder, KUBECONFIG=str(kubeconfig))
            stack.callback(victim.replica.process.kill)
        for victim in victims:
            eventually(lambda victim=victim: victim.replica.process.poll() is not None, within_s=200)
            folder = victim.replica.log_file.parent
            second = start_replica("second", victim.jobs.namespace, folder=folder)
            stack.callback(second.process.wait)
            stack.callback(second.process.kill)
        yield victims


def of(victims: list[Victim], moment: Moment) -> Victim:
    return next(victim for victim in victims if victim.moment == moment)


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_the_job_ends_as_if_nothing_had_happened(victims: list[Victim], moment: Moment) -> None:
    status = of(victims, moment).jobs.ends(str(moment))
    assert (status["restarts"], status["budgetUsed"]) == (1, 1)


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_no_attempt_is_made_twice(victims: list[Victim], moment: Moment) -> None:
    jobs = of(victims, moment).jobs
    jobs.ends(str(moment))
    assert jobs.journal.starts(str(moment)) == [("finetune", 1, 0), ("finetune", 2, 0), ("prepare", 1, 0)]
    assert jobs.journal.begins_at(str(moment), "finetune", 2) == 2
