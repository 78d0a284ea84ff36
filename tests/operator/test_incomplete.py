"""When a gang that never came together gives back what it holds, and when the next one is tried."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from llava_contract import causes
from llava_contract.run import Stage
from llava_contract.v1alpha1.status import JobStatus, WaitingStatus
from llava_operator.core.decide import decide
from llava_operator.core.decision import Decision, Fail, RestartStage, Situation, StartAttempt, Wait
from llava_operator.core.observe import AttemptState, Observed, Waiting
from llava_operator.core.plan import plan_job
from llava_operator.core.status import applied, latched
from support.jobs import NOON, SPEC, JobBuilder, job

GANG = {**SPEC["workers"], "replicas": 2}
GPU = {"gpusPerWorker": 1}
NO_GPU = Waiting("Unschedulable", "pod-1: 0/3 nodes are available")
WHILE_S = 600
LONG_S = 720


def situation(builder: JobBuilder, *, held_s: float | None, num_placed: int = 1) -> Situation:
    """Give a situation in which a part of the attempt's pods has been placed for so long."""
    pending = builder.named_only().running()
    assert pending.seen is not None
    seen = replace(pending.seen, state=AttemptState.PENDING, waiting=NO_GPU, num_placed=num_placed)
    since = None if held_s is None else NOON - timedelta(seconds=held_s)
    told = WaitingStatus(reason=NO_GPU.reason, message=NO_GPU.message, since=NOON, time=NOON, holding_since=since)
    built, observed = pending.build(), Observed((seen,))
    stages = [
        stage.model_copy(update={"waiting": told}) if stage.name == pending.stage else stage
        for stage in built.status.stages
    ]
    status = built.status.model_copy(update={"stages": stages})
    plan = plan_job(built)
    return Situation(plan, latched(status, plan, observed=observed, now=NOON), observed, NOON)


def decision(builder: JobBuilder, *, held_s: float | None, num_placed: int = 1) -> Decision:
    return decide(situation(builder, held_s=held_s, num_placed=num_placed))


@pytest.mark.parametrize(
    ("workers", "stage", "held_s", "num_placed", "want"),
    [
        (GANG, Stage.FINETUNE, LONG_S, 1, RestartStage),
        (GPU, Stage.FINETUNE, LONG_S, 1, RestartStage),
        (GANG, Stage.FINETUNE, WHILE_S - 1, 1, Wait),
        (GANG, Stage.FINETUNE, LONG_S, 0, Wait),
        (GANG, Stage.FINETUNE, None, 0, Wait),
        (GANG, Stage.PREPARE, LONG_S, 1, Wait),
        (SPEC["workers"], Stage.FINETUNE, LONG_S, 1, Wait),
    ],
    ids=["gang", "one with GPUs", "not yet", "nothing held any more", "nothing held", "prepare", "one without GPUs"],
)
def test_who_gives_places_back(
    workers: dict[str, Any], stage: Stage, held_s: float | None, num_placed: int, want: type
) -> None:
    builder = job().at(stage).wanting(workers=workers)
    assert isinstance(decision(builder, held_s=held_s, num_placed=num_placed), want)


def test_whoever_holds_is_looked_at_when_the_time_is_up() -> None:
    waits = decision(job().wanting(workers=GANG), held_s=60)
    assert isinstance(waits, Wait)
    assert waits.until is not None
    assert WHILE_S - 60 <= (waits.until - NOON).total_seconds() < LONG_S - 60


def test_two_gangs_do_not_let_go_at_the_same_time() -> None:
    first, second = (decision(job().attempt(number).wanting(workers=GANG), held_s=0) for number in (1, 2))
    assert first != second


def test_nobody_is_charged_and_the_reason_stays_in_sight() -> None:
    seen = situation(job().wanting(workers=GANG), held_s=LONG_S)
    restart = decide(seen)
    assert isinstance(restart, RestartStage)
    assert (restart.failed.reason, restart.failed.charged) == ("GangIncomplete", False)
    after: JobStatus = applied(seen.status, restart, plan=seen.plan, now=NOON)
    assert (after.budget_used, after.stages[2].waiting) == (0, None)
    assert NO_GPU.message in after.stages[2].message


@pytest.mark.parametrize(("num_incomplete", "delay_s"), [(1, 60), (2, 120), (3, 240), (9, 1800)])
def test_each_try_for_room_waits_twice_as_long(num_incomplete: int, delay_s: int) -> None:
    tried = job().wanting(workers=GANG).after(*(causes.INCOMPLETE.exit_code,) * num_incomplete)
    assert tried.restarting(failed_s_ago=delay_s - 1).decision() == Wait(NOON + timedelta(seconds=1))
    assert isinstance(tried.restarting(failed_s_ago=delay_s).decision(), StartAttempt)


def test_tries_for_room_never_fail_a_job() -> None:
    tried = job().wanting(workers=GANG).after(*(causes.INCOMPLETE.exit_code,) * 20, steps=(None,) * 20)
    assert not isinstance(decision(tried, held_s=LONG_S), Fail)


def test_tries_for_room_do_not_slow_another_restart() -> None:
    mixed = job().after(causes.INCOMPLETE.exit_code, causes.INCOMPLETE.exit_code, 75, steps=(5, 5, 5))
    assert isinstance(mixed.restarting(failed_s_ago=0).decision(), StartAttempt)


@pytest.mark.parametrize(("is_waiting", "reason"), [(True, "GangIncomplete"), (False, "Infrastructure")])
def test_ranks_that_waited_in_vain_for_the_others_are_not_at_fault(is_waiting: bool, reason: str) -> None:
    seen = situation(job().wanting(workers=GANG), held_s=60)
    failed = job().wanting(workers=GANG).failed(exit=75)
    status = seen.status if is_waiting else failed.build().status
    restart = decide(Situation(seen.plan, status, failed.observed(), NOON))
    assert isinstance(restart, RestartStage)
    assert restart.failed.reason == reason
