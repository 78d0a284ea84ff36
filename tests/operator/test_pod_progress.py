"""How what pods tell becomes part of an attempt, and from there of the status and of decisions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from llava_contract.v1alpha1.status import JobStatus
from llava_operator.backends.pod_evidence import AttemptBodies, see_attempt
from llava_operator.backends.pod_progress import Sight, with_progress
from llava_operator.core.decide import decide
from llava_operator.core.decision import RestartStage, Situation, Wait
from llava_operator.core.observe import AttemptState, Observed, ObservedAttempt
from llava_operator.core.plan import plan_job
from llava_operator.core.status import applied, latched
from llava_operator.progress import Answer, FirstPod, Unreachable
from llava_operator.readings import Readings
from support.clock import Clock
from support.jobs import NOON, commit, job
from support.pods import CHILD, Pod, pod, pytorch_job
from support.progress_pod import first_pod, told

HANG_S = 1800 + 60


class Watched:
    """A gang of two whose first pod answers `answer`; every look asks it first."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.answer: Answer = told(31)
        self.asked: list[FirstPod] = []
        self.readings = Readings(lambda _: None, self.clock, self.read)
        self.pods: tuple[Pod, ...] = (pod(0).running(), pod(1).running())
        self.departed: tuple[Pod, ...] = ()
        self.job = job().build()

    def read(self, first: FirstPod) -> Answer:
        self.asked.append(first)
        return self.answer

    def look(self) -> ObservedAttempt:
        bodies = AttemptBodies(CHILD, pytorch_job(), at_work(self.pods), at_work(self.departed))
        now = NOON + timedelta(seconds=self.clock.now)
        seen = see_attempt(bodies, num_workers=2, latched=("pod-0", "pod-1"), now=now)
        sights = [Sight(seen, bodies)]
        with_progress(self.job, sights, self.readings, now=now)
        self.readings.ask("pod-0")
        (attempt,) = with_progress(self.job, sights, self.readings, now=now)
        return attempt

    def after(self, seconds: float) -> ObservedAttempt:
        self.clock.now += seconds
        return self.look()

    def status(self) -> JobStatus:
        now = NOON + timedelta(seconds=self.clock.now)
        return latched(self.job.status, plan_job(self.job), observed=Observed((self.look(),)), now=now)


def at_work(pods: tuple[Pod, ...]) -> tuple[dict[str, Any], ...]:
    """Give the bodies of pods that have an address each."""
    bodies = [one.body() for one in pods]
    return tuple({**body, "status": {**body["status"], "podIP": f"10.0.0.{n}"}} for n, body in enumerate(bodies))


def test_the_pod_of_rank_0_is_asked_for_its_own_attempt() -> None:
    watched = Watched()
    assert watched.look().progress == told(31)
    assert watched.asked == [first_pod(ip="10.0.0.0")]


def test_nobody_is_asked_before_the_gang_is_complete() -> None:
    watched = Watched()
    watched.pods = (pod(0), pod(1))
    assert (watched.look().progress, watched.asked) == (None, [])


def test_standing_still_counts_by_our_clock() -> None:
    watched = Watched()
    watched.answer = told(31, time=NOON - timedelta(days=300))
    watched.look()
    assert watched.after(40).moved_at == NOON
    watched.answer = told(32, time=NOON - timedelta(days=300))
    assert watched.after(40).moved_at == NOON + timedelta(seconds=80)


@pytest.mark.parametrize(
    ("answer", "want"),
    [(told(31), RestartStage), (told(32), Wait), (Unreachable("timed out"), Wait)],
    ids=["stale", "fresh", "unreachable"],
)
def test_a_stale_progress_kills_and_one_that_cannot_be_read_does_not(answer: Answer, want: type) -> None:
    watched = Watched()
    watched.look()
    watched.answer = answer
    observed = Observed((watched.after(HANG_S + 1),))
    now = NOON + timedelta(seconds=watched.clock.now)
    assert isinstance(decide(Situation(plan_job(watched.job), watched.job.status, observed, now)), want)


def test_what_cannot_be_read_for_long_is_said_once_and_not_shown() -> None:
    watched = Watched()
    watched.job = replace(watched.job, status=watched.status())
    assert watched.job.status.progress
    watched.answer = Unreachable("10.0.0.0:8081 did not answer within 2 s")
    watched.after(1)
    watched.clock.now += 200
    status = watched.status()
    ready = next(one for one in status.conditions if one.type == "Ready")
    assert ready.message == "finetune attempt 1 is running; its progress is unknown: " + watched.answer.why
    assert status.progress is None
    watched.job, watched.answer = replace(watched.job, status=status), Unreachable("something else")
    watched.clock.now += 200
    assert watched.status() == status


@pytest.mark.parametrize(
    "end",
    [
        lambda watched: setattr(watched, "pods", (pod(0).ended(137), pod(1).running())),
        lambda watched: (setattr(watched, "pods", (pod(1).running(),)), setattr(watched, "departed", (pod(0),))),
        lambda watched: setattr(watched, "pods", (pod(0).disrupted().evicted_unseen(), pod(1).running())),
    ],
    ids=["SIGKILL of PID 1", "force-deleted", "node lost"],
)
def test_the_last_commit_told_survives_a_pod_that_says_nothing_at_its_end(end: Any) -> None:
    watched = Watched()
    watched.answer = told(31, checkpoint=commit(20))
    watched.look()
    end(watched)
    seen = watched.look()
    assert (seen.state, seen.result, seen.exit_code != 0) == (AttemptState.FAILED, None, True)
    status = watched.status()
    plan = plan_job(watched.job)
    decision = decide(Situation(plan, status, Observed((seen,)), NOON))
    stage = applied(status, decision, plan=plan, now=NOON).stage("finetune")
    assert stage is not None
    assert (stage.checkpoint, stage.history[-1].checkpoint_step) == (commit(20), 20)
