"""What a job needs next, for every cause and every place where a job can stand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from llava_contract import causes
from llava_contract.causes import CAUSES, Cause, Retry
from llava_contract.run import Stage
from llava_contract.v1alpha1.status import Phase
from llava_operator.core.decision import (
    Fail,
    FinishStage,
    Rest,
    RestartStage,
    StartAttempt,
    StopAttempt,
    Succeed,
    Suspend,
    Wait,
)  # fmt: skip
from support.jobs import NOON, JobBuilder, job

FAILURES = [cause for cause in CAUSES if cause is not causes.SUCCEEDED]
RESTARTS = [cause for cause in FAILURES if cause.retry is not Retry.NEVER]


@pytest.mark.parametrize("cause", FAILURES, ids=lambda cause: cause.reason)
def test_first_failure_restarts_unless_a_restart_cannot_help(cause: Cause) -> None:
    want = Fail if cause.retry is Retry.NEVER else RestartStage
    assert isinstance(job().failed(exit=cause.exit_code).decision(), want)


@pytest.mark.parametrize("cause", RESTARTS, ids=lambda cause: cause.reason)
def test_only_counted_causes_are_charged(cause: Cause) -> None:
    decision = job().failed(exit=cause.exit_code).decision()
    assert isinstance(decision, RestartStage)
    assert decision.failed.charged is (cause.retry is Retry.COUNTED)


@pytest.mark.parametrize(
    ("before", "exit_code", "want"),
    [
        ((75,), 75, RestartStage),
        ((75, 75), 75, RestartStage),
        ((75, 75, 75), 75, Fail),  # maxRestarts is 3
        ((143,) * 6, 143, RestartStage),
        ((143,) * 6, 75, RestartStage),
        ((76,), 76, Fail),
        ((76,), 75, RestartStage),
        ((75,), 76, RestartStage),
        ((77,), 77, RestartStage),
        ((77, 77), 77, Fail),
        ((75, 77, 137), 77, RestartStage),
        ((75,), 12, Fail),
        ((137, 74, -1), 1, Fail),
    ],
)
def test_earlier_attempts_decide(before: tuple[int, ...], exit_code: int, want: type) -> None:
    assert isinstance(job().after(*before).committed(99).failed(exit=exit_code).decision(), want)


@pytest.mark.parametrize(
    ("before", "steps", "now_at", "want"),
    [
        ((75, 75), (5, 5), 5, Fail),
        ((75, 75), (None, None), None, Fail),
        ((75, 75), (5, 5), 6, RestartStage),
        ((75, 75), (4, 5), 5, RestartStage),
        ((75, 143, 143), (5, 5, 5), 5, RestartStage),
        ((75, 143, 75), (5, 5, 5), 5, Fail),
    ],
)
def test_three_attempts_at_one_checkpoint_are_enough(
    before: tuple[int, ...], steps: tuple[int | None, ...], now_at: int | None, want: type
) -> None:
    stuck = job().wanting(runPolicy={"maxRestarts": 100}).after(*before, steps=steps).committed(now_at)
    assert isinstance(stuck.failed(exit=75).decision(), want)


@pytest.mark.parametrize(
    ("exit_code", "said", "want"),
    [
        (12, "a.json row 7: no image; mend the row.", "finetune failed: a.json row 7: no image; mend the row."),
        (12, "", f"finetune failed: The process ended with exit code 12 and left no message. {causes.BAD_DATA.advice}"),
        (76, "70 GiB wanted.", "finetune failed: 70 GiB wanted. It happened again after a restart. "
         + causes.OUT_OF_MEMORY.advice),
    ],
)  # fmt: skip
def test_failure_says_what_where_and_what_to_do_once(exit_code: int, said: str, want: str) -> None:
    decision = job().after(76).failed(exit=exit_code, message=said).decision()
    assert isinstance(decision, Fail)
    assert decision.message == want


@pytest.mark.parametrize(("began_s_ago", "again_in_s"), [(0, 3), (2, 3), (7, 7), (3600, 60)])
def test_an_attempt_that_does_not_begin_is_looked_at_again_because_nobody_watches_events(
    began_s_ago: int, again_in_s: int
) -> None:
    late = replace(job().named_only().pending(), now=NOON + timedelta(seconds=began_s_ago))
    assert late.decision() == Wait(late.now + timedelta(seconds=again_in_s))


def test_spent_budget_is_named() -> None:
    decision = job().wanting(runPolicy={"maxRestarts": 0}).failed(exit=75).decision()
    assert isinstance(decision, Fail)
    assert "maxRestarts" in decision.message


@pytest.mark.parametrize(
    ("builder", "want"),
    [
        (job().running(), Wait()),
        (job().gone().at(Stage.FINETUNE).attempt(1), RestartStage),
        (job().running().wanting(runPolicy={"suspend": True}), Suspend(job().child)),
        (job().gone().suspended().wanting(runPolicy={"suspend": True}), Rest()),
        (job().failed(exit=75).wanting(runPolicy={"suspend": True}), Suspend(job().child)),
        (job().over(Phase.FAILED), Rest()),
        (job().over(Phase.FAILED).running(), StopAttempt(job().child)),
        (job().at(Stage.EVALUATE).over(Phase.SUCCEEDED), Rest()),
        (job().running().beside("stranger"), StopAttempt("stranger")),
        (job().running().beside("stranger", members=()), Wait()),
        (job().after(75).restarting(failed_s_ago=60).failed(exit=75, members=("8",)), StopAttempt(job().child)),
    ],
)
def test_situation_decides(builder: JobBuilder, want: object) -> None:
    decision = builder.decision()
    assert isinstance(decision, want) if isinstance(want, type) else decision == want


def test_lost_attempt_is_restarted_as_lost() -> None:
    decision = job().gone().decision()
    assert isinstance(decision, RestartStage)
    assert decision.failed.reason == causes.LOST.reason


@pytest.mark.parametrize(
    ("builder", "stage", "attempt"),
    [
        (job().named_only(), Stage.FINETUNE, 1),
        (job().attempt(3).named_only(), Stage.FINETUNE, 3),
        (job().after(75).restarting(failed_s_ago=60), Stage.FINETUNE, 2),
        (job().attempt(2).suspended(), Stage.FINETUNE, 3),
        (job().over(Phase.SUCCEEDED).wanting().at(Stage.FINETUNE), None, None),
    ],
)
def test_starts_the_named_attempt_or_the_next(builder: JobBuilder, stage: Stage | None, attempt: int | None) -> None:
    decision = builder.decision()
    got = (decision.stage.stage, decision.attempt) if isinstance(decision, StartAttempt) else (None, None)
    assert got == (stage, attempt)


def test_success_ends_the_stage_even_while_suspending() -> None:
    decision = job().succeeded().suspended().wanting(runPolicy={"suspend": True}).decision()
    assert isinstance(decision, FinishStage)


@pytest.mark.parametrize(
    ("told_s_ago", "stage", "want"),
    [
        (1000, Stage.FINETUNE, Wait),
        (1801, Stage.FINETUNE, Wait),
        (1861, Stage.FINETUNE, RestartStage),
        (None, Stage.FINETUNE, Wait),
        (9999, Stage.PREPARE, Wait),
    ],
)
def test_standstill_of_training_is_a_hang(told_s_ago: float | None, stage: Stage, want: type) -> None:
    assert isinstance(job().at(stage).running(step=5, told_s_ago=told_s_ago).decision(), want)


@pytest.mark.parametrize("why", ["", "10.0.0.7:8081 did not answer within 2 s"])
def test_what_cannot_be_read_is_no_hang(why: str) -> None:
    assert isinstance(job().running(step=5, told_s_ago=9999).unheard(why).decision(), Wait)


def test_deadline_fails_the_job() -> None:
    late = JobBuilder(now=NOON + timedelta(seconds=3600)).wanting(runPolicy={"activeDeadlineSeconds": 3600})
    decision = late.running().decision()
    assert isinstance(decision, Fail)
    assert (decision.cause, decision.child) == (causes.DEADLINE, late.child)


def test_a_deadline_is_noticed_when_it_comes() -> None:
    early = JobBuilder(now=NOON + timedelta(seconds=3500)).wanting(runPolicy={"activeDeadlineSeconds": 3600})
    assert early.running().decision() == Wait(NOON + timedelta(seconds=3600))


def test_first_restart_does_not_wait() -> None:
    assert isinstance(job().after(75).restarting(failed_s_ago=0).decision(), StartAttempt)


@pytest.mark.parametrize(("num_vain", "delay_s"), [(2, 10), (3, 20), (4, 40), (9, 300)])
def test_backs_off_from_what_gets_nowhere(num_vain: int, delay_s: int) -> None:
    vain = job().after(*(143,) * num_vain, steps=(5,) * num_vain)
    assert vain.restarting(failed_s_ago=delay_s - 1).decision() == Wait(NOON + timedelta(seconds=1))
    assert isinstance(vain.restarting(failed_s_ago=delay_s).decision(), StartAttempt)


@pytest.mark.parametrize(
    ("minimum", "score", "want"), [(None, 0.1, Succeed), (0.5, 0.5, Succeed), (0.5, 0.49, Fail), (0.5, None, Fail)]
)
def test_low_score_fails_the_job(minimum: float | None, score: float | None, want: type) -> None:
    evaluate = {"benchmarks": [{"name": "shapes", "uri": "/s.tsv"}], "minimumAccuracy": minimum}
    scored = job().at(Stage.EVALUATE).over(Phase.RUNNING).wanting(evaluate=evaluate)
    assert isinstance((scored if score is None else scored.scored(score)).decision(), want)


def test_a_member_that_is_gone_has_no_exit_code_to_tell_of() -> None:
    decision = job().failed(exit=causes.LOST.exit_code).decision()
    assert isinstance(decision, RestartStage)
    assert decision.failed.message == "A member of the gang is gone and left no evidence."
