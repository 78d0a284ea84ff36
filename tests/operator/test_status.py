"""How a status changes, and when it does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from llava_contract.causes import CAUSES
from llava_contract.conditions import ConditionType
from llava_contract.run import Stage
from llava_contract.v1alpha1.status import Condition, ConditionStatus, JobStatus, Phase, StageState
from llava_operator.core.conditions import conditions_of, find_condition
from llava_operator.core.decision import Fail, RestartStage, Situation, StartAttempt, Wait
from llava_operator.core.forecast import duration_text
from llava_operator.core.observe import AttemptState, Observed, Waiting
from llava_operator.core.plan import plan_job
from llava_operator.core.status import applied, latched, reopened
from support.jobs import NOON, JobBuilder, commit, job, result

LATER = NOON + timedelta(minutes=5)


def seen(builder: JobBuilder) -> JobStatus:
    built = builder.build()
    return latched(built.status, plan_job(built), observed=builder.observed(), now=builder.now)


def after(builder: JobBuilder) -> JobStatus:
    return applied(seen(builder), builder.decision(), plan=plan_job(builder.build()), now=builder.now)


def test_every_planned_stage_is_listed_at_once() -> None:
    built = replace(job().build(), status=JobStatus())
    status = latched(JobStatus(), plan_job(built), observed=Observed(), now=NOON)
    assert [stage.name for stage in status.stages] == list(Stage)


def test_progress_of_the_running_attempt_is_shown() -> None:
    status = seen(job().named_only().running(step=30, told_s_ago=1))
    assert status.progress is not None
    assert (status.progress.summary, status.phase) == ("30/100", Phase.RUNNING)


def test_seeing_the_same_again_changes_nothing() -> None:
    builder = job().running(step=30, told_s_ago=1)
    once = seen(builder)
    again = latched(once, plan_job(builder.build()), observed=builder.observed(), now=LATER)
    assert again == once


@pytest.mark.parametrize("exit_code", [cause.exit_code for cause in CAUSES if cause.exit_code])
def test_every_failure_is_kept_in_history(exit_code: int) -> None:
    stage = after(job().committed(5).failed(exit=exit_code)).stages[2]
    assert [(r.attempt, r.exit_code, r.checkpoint_step) for r in stage.history] == [(1, exit_code, 5)]
    assert stage.state in (StageState.RESTARTING, StageState.FAILED)


def test_history_keeps_the_gist_and_the_stage_the_whole_sentence() -> None:
    stage = after(job().failed(exit=75, message="x" * 4000)).stages[2]
    assert (len(stage.history[0].message), len(stage.message) >= 4000) == (512, True)


def test_a_commit_that_only_the_dying_attempt_told_of_is_kept() -> None:
    failed = job().failed(exit=75, message="NCCL")
    assert failed.seen is not None
    told = result(Stage.FINETUNE, exit_code=75, reason="x", checkpoint=commit(40))
    stage = after(replace(failed, seen=replace(failed.seen, result=told))).stages[2]
    assert stage.checkpoint == commit(40)


def test_a_failed_job_says_why_in_its_condition() -> None:
    failed = find_condition(after(job().failed(exit=14)).conditions, ConditionType.FAILED)
    assert failed is not None
    assert (failed.status, failed.reason) == (ConditionStatus.TRUE, "StorageForbidden")


def test_reopening_gives_a_fresh_budget_and_keeps_the_attempt_number() -> None:
    status = reopened(after(job().after(75, 75).committed(9).failed(exit=12)))
    stage = status.stages[2]
    assert (status.phase, status.budget_used, stage.history, stage.attempt) == (Phase.PENDING, 0, [], 3)
    assert stage.checkpoint == commit(9)


def test_waiting_is_not_a_change() -> None:
    status = seen(job().running())
    assert applied(status, Wait(), plan=plan_job(job().build()), now=LATER) is status


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (59.4, "59s"), (60, "1m"), (3599, "59m"), (7800, "2h10"), (86_399, "23h59"), (273_600, "3d04h")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_suspension_does_not_count_against_the_deadline() -> None:
    paused = job().wanting(runPolicy={"activeDeadlineSeconds": 3600}).running()
    built = paused.build()
    suspended = conditions_of(paused.suspended().status(), [], generation=1, now=NOON)
    status = built.status.model_copy(update={"conditions": suspended})
    conditions = conditions_of(status, [], generation=1, now=NOON + timedelta(hours=8))
    late = replace(paused, now=NOON + timedelta(hours=8, minutes=59), conditions=tuple(conditions))
    assert not isinstance(late.decision(), Fail | RestartStage)
    assert isinstance(replace(late, now=NOON + timedelta(hours=9)).decision(), Fail)
    assert Situation(plan_job(built), built.status, paused.observed(), NOON).wanted_child == paused.child


def pending(waiting: Waiting | None) -> JobStatus:
    builder = job().named_only().running()
    assert builder.seen is not None
    return seen(replace(builder, seen=replace(builder.seen, state=AttemptState.PENDING, waiting=waiting)))


def ready(status: JobStatus) -> Condition:
    found = find_condition(status.conditions, ConditionType.READY)
    assert found is not None
    return found


def test_a_pending_attempt_says_what_it_waits_for() -> None:
    status = pending(Waiting("ImagePullBackOff", "no such image"))
    claim = ready(status)
    assert (status.phase, status.stages[2].state) == (Phase.PENDING, StageState.STARTING)
    assert (claim.status, claim.reason) == (ConditionStatus.FALSE, "ImagePullBackOff")
    assert claim.message == "finetune attempt 1 waits: no such image"
    assert status.stages[2].message == "ImagePullBackOff: no such image"


def quiet(waited: JobStatus, *, s_later: float) -> JobStatus:
    """See the same attempt later, when it waits for nothing in particular."""
    builder = job().named_only().running()
    assert builder.seen is not None
    seen = Observed((replace(builder.seen, state=AttemptState.PENDING),))
    return latched(waited, plan_job(builder.build()), observed=seen, now=NOON + timedelta(seconds=s_later))


def test_a_container_between_two_tries_keeps_the_words_that_were_found() -> None:
    waited = pending(Waiting("CrashLoopBackOff", "back-off 10s"))
    assert quiet(waited, s_later=29) == waited


def test_waiting_for_nothing_in_particular_is_starting() -> None:
    status = quiet(pending(Waiting("Unschedulable", "no GPU")), s_later=30)
    assert (ready(status).reason, ready(status).message) == ("Starting", "finetune attempt 1 is starting")
    assert (status.stages[2].message, status.stages[2].waiting) == ("", None)
    assert quiet(status, s_later=60) == status


def test_what_was_waited_for_is_forgotten_once_it_runs() -> None:
    waited = pending(Waiting("Unschedulable", "no GPU"))
    built = job().named_only().build()
    status = latched(waited, plan_job(built), observed=job().running().observed(), now=LATER)
    assert (status.phase, ready(status).reason, status.stages[2].message) == (Phase.RUNNING, "Running", "")


def test_a_scheduler_that_counts_anew_causes_no_write() -> None:
    waited = pending(Waiting("Unschedulable", "0/3 nodes"))
    builder = job().named_only().running()
    assert builder.seen is not None
    recounted = replace(builder.seen, state=AttemptState.PENDING, waiting=Waiting("Unschedulable", "0/4 nodes"))
    soon = NOON + timedelta(seconds=29)
    assert latched(waited, plan_job(builder.build()), observed=Observed((recounted,)), now=soon) == waited


def test_only_an_attempt_that_starts_waits() -> None:
    waited = pending(Waiting("Unschedulable", "no GPU"))
    assert waited.stages[2].waiting is not None
    status = latched(waited, plan_job(job().build()), observed=job().running().observed(), now=LATER)
    assert status.stages[2].waiting is None


def test_a_complete_gang_is_latched_once() -> None:
    builder = job().named_only().running()
    assert builder.seen is not None
    first = seen(replace(builder, seen=replace(builder.seen, gang=("a", "b"))))
    other = Observed((replace(builder.seen, gang=("a", "c")),))
    later = latched(first, plan_job(builder.build()), observed=other, now=LATER)
    assert [status.stages[2].pods for status in (first, later)] == [["a", "b"], ["a", "b"]]


def test_the_next_attempt_has_no_pods_yet() -> None:
    gang = job().running()
    assert gang.seen is not None
    status = seen(replace(gang, seen=replace(gang.seen, gang=("a",))))
    assert status.stages[2].pods == ["a"]
    planned = plan_job(gang.build()).stages[2]
    status = applied(status, StartAttempt(planned, 2, "demo-2"), plan=plan_job(gang.build()), now=LATER)
    assert status.stages[2].pods == []
