"""What a queue does to an attempt: it is no failure, whatever its pods end with, and the next gang is another one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llava_contract.run import Stage
from llava_contract.v1alpha1.status import Phase, StageState
from llava_operator.backends.pod_evidence import AttemptBodies, see_attempt
from llava_operator.core.decide import decide
from llava_operator.core.decision import Situation, Wait
from llava_operator.core.observe import AttemptState, Observed, ObservedAttempt
from llava_operator.core.plan import plan_job
from llava_operator.core.status import latched
from support.jobs import NOON, job, result
from support.pods import CHILD, Pod, pod, pytorch_job, stamp

BOTH = ("pod-0", "pod-1")
NEW = (pod(0).replaced("new-0").made(at_s=0), pod(1).replaced("new-1").made(at_s=0))
OLD = (pod(0).ended(143), pod(1).ended(143))
DONE = result(Stage.FINETUNE, artifacts={"finetuneWeights": "/w"})


def queued_job(*, suspend: bool, condition: str | None = None, queue: str | None = "gpus") -> dict[str, Any]:
    """Give a PyTorchJob that a queue holds, or let go at noon."""
    body = pytorch_job()
    labels = {**body["metadata"]["labels"], **({"kueue.x-k8s.io/queue-name": queue} if queue else {})}
    conditions = [{"type": "Suspended", "status": condition, "lastTransitionTime": stamp()}] if condition else []
    return {
        "metadata": {**body["metadata"], "labels": labels},
        "spec": {**body["spec"], "runPolicy": {"suspend": suspend}},
        "status": {"conditions": conditions},
    }


def see(
    body: dict[str, Any], *pods: Pod, departed: tuple[Pod, ...] = (), latched: tuple[str, ...] = ()
) -> ObservedAttempt:
    bodies = AttemptBodies(CHILD, body, tuple(p.body() for p in pods), tuple(p.body() for p in departed))
    return see_attempt(bodies, num_workers=2, latched=latched, now=NOON)


HELD = queued_job(suspend=True)
LET_GO = queued_job(suspend=False, condition="False")


def test_a_queued_attempt_is_pending_and_says_so() -> None:
    seen = see(HELD)
    assert seen.state is AttemptState.PENDING
    assert seen.waiting
    assert (seen.waiting.reason, "queue gpus" in seen.waiting.message) == ("Queued", True)


def test_a_suspension_by_hand_is_not_called_a_queue() -> None:
    waiting = see(queued_job(suspend=True, queue=None)).waiting
    assert waiting
    assert waiting.reason == "PyTorchJobSuspended"


@pytest.mark.parametrize(
    "pods",
    [(), OLD, (pod(0).running(),), (pod(0).ended(77), pod(1).running()), (pod(0).running().disrupted(),)],
    ids=["all gone", "terminated", "half gone", "failed meanwhile", "leaving"],
)
@pytest.mark.parametrize("body", [HELD, queued_job(suspend=False, condition="True")], ids=["held", "not yet let go"])
def test_nothing_that_happens_while_a_queue_holds_an_attempt_is_its_failure(
    pods: tuple[Pod, ...], body: dict[str, Any]
) -> None:
    seen = see(body, *pods, latched=BOTH)
    assert (seen.state, seen.exit_code, seen.is_released, seen.num_placed) == (AttemptState.PENDING, None, True, 0)


def test_a_gang_that_was_done_before_it_was_taken_away_is_done() -> None:
    seen = see(HELD, pod(0).ended(0, said=DONE), pod(1).ended(0), latched=BOTH)
    assert (seen.state, seen.is_released) == (AttemptState.SUCCEEDED, False)


@pytest.mark.parametrize(
    ("pods", "want"), [(NEW, AttemptState.PENDING), (tuple(p.running() for p in NEW), AttemptState.RUNNING)]
)
def test_pods_of_an_earlier_run_say_nothing_about_this_one(pods: tuple[Pod, ...], want: AttemptState) -> None:
    assert see(LET_GO, *pods, departed=OLD).state is want


def test_the_next_gang_is_latched_anew() -> None:
    assert see(LET_GO, *(p.running() for p in NEW), departed=OLD).gang == ("new-0", "new-1")


def test_a_pod_of_this_run_that_fails_has_failed() -> None:
    assert see(LET_GO, NEW[0].running(), NEW[1].ended(77), departed=OLD).exit_code == 77


def test_a_preempted_attempt_waits_uncharged_under_its_own_number() -> None:
    running = job().running()
    assert running.seen is not None
    built, plan = running.build(), plan_job(running.build())
    gang = Observed((replace(running.seen, gang=BOTH),))
    status = latched(built.status, plan, observed=gang, now=NOON)
    taken = Observed((replace(running.seen, state=AttemptState.PENDING, is_released=True, waiting=see(HELD).waiting),))
    after = latched(status, plan, observed=taken, now=NOON)
    stage = after.stages[2]
    assert status.stages[2].pods == list(BOTH)
    assert (after.phase, stage.state, stage.attempt, stage.pods) == (Phase.PENDING, StageState.STARTING, 1, [])
    assert after.budget_used == 0
    assert isinstance(decide(Situation(plan, after, taken, NOON)), Wait)
