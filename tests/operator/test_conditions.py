"""What conditions and columns say at every moment of a job's life."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from llava_contract.conditions import REASONS, STAGE_CONDITIONS, TYPES, ConditionType, Reason
from llava_contract.run import Stage
from llava_contract.v1alpha1.status import ConditionStatus, JobStatus, Phase, StageState, StageStatus
from llava_operator.core.conditions import Word, conditions_of, find_condition
from llava_operator.core.decision import StartAttempt
from llava_operator.core.observe import AttemptState, Observed, Waiting
from llava_operator.core.plan import plan_job
from llava_operator.core.status import applied, held_up, latched, spec_refused
from support.jobs import NOON, JobBuilder, job, spec

LATER = NOON + timedelta(minutes=5)
RUNNING = job().running(step=30, told_s_ago=1)
SHOWN = "30/100"


def status_after(builder: JobBuilder) -> JobStatus:
    """Look once and write the decision down, as reconcile does."""
    built = builder.build()
    progress = latched(built.status, plan_job(built), observed=RUNNING.observed(), now=NOON).progress
    status = built.status.model_copy(update={"progress": progress})
    seen = latched(status, plan_job(built), observed=builder.observed(), now=builder.now)
    return applied(seen, builder.decision(), plan=plan_job(built), now=builder.now)


def pending(builder: JobBuilder, reason: str | None = None) -> JobBuilder:
    assert builder.seen is not None
    waiting = Waiting(reason, "why") if reason else None
    return replace(builder, seen=replace(builder.seen, state=AttemptState.PENDING, progress=None, waiting=waiting))


def suspending(builder: JobBuilder) -> JobBuilder:
    return builder.wanting(runPolicy={"suspend": True})


def columns(status: JobStatus) -> tuple[str | None, str, str | None]:
    return status.current_stage, status.phase.value, status.progress.summary if status.progress else None


def said(status: JobStatus, type_: str = "Ready") -> tuple[str, str]:
    found = find_condition(status.conditions, ConditionType(type_))
    assert found is not None, f"{type_} is not there"
    return found.status.value, found.reason


LIFE: dict[str, tuple[JobBuilder, tuple[str, str, str | None], tuple[str, str]]] = {
    "runs": (RUNNING, ("finetune", "Running", SHOWN), ("False", "Running")),
    "tells nothing for a while": (job().running(), ("finetune", "Running", SHOWN), ("False", "Running")),
    "pods are pending": (pending(job().running()), ("finetune", "Pending", None), ("False", "Starting")),
    "pods lack a node": (pending(RUNNING, "Unschedulable"), ("finetune", "Pending", None), ("False", "Unschedulable")),
    "fails and restarts": (job().failed(exit=75), ("finetune", "Restarting", None), ("False", "Infrastructure")),
    "waits to restart": (
        job().after(75, 75, steps=(9, 9)).restarting(failed_s_ago=1),
        ("finetune", "Restarting", None),
        ("False", "NotStarted"),
    ),
    "starts again": (
        job().after(75).restarting(failed_s_ago=99),
        ("finetune", "Restarting", None),
        ("False", "Starting"),
    ),
    "finishes a stage": (job().succeeded(), ("finetune", "Running", None), ("False", "StageSucceeded")),
    "starts the next": (
        job().at(Stage.CONVERT).gone().attempt(0).over(Phase.RUNNING).waiting(),
        ("convert", "Pending", None),
        ("False", "Starting"),
    ),
    "is suspended": (suspending(RUNNING), ("finetune", "Suspended", None), ("False", "Suspended")),
    "stays suspended": (suspending(job().suspended()), ("finetune", "Suspended", None), ("False", "NotStarted")),
    "is resumed": (job().suspended(), ("finetune", "Pending", None), ("False", "Starting")),
    "gives up": (job().failed(exit=12), ("finetune", "Failed", None), ("False", "BadData")),
    "succeeds": (
        job().at(Stage.EVALUATE).over(Phase.RUNNING),
        ("evaluate", "Succeeded", None),
        ("True", "Succeeded"),
    ),
}


@pytest.mark.parametrize("moment", LIFE)
def test_columns_and_ready_tell_the_truth(moment: str) -> None:
    builder, shown, ready = LIFE[moment]
    status = status_after(builder)
    assert (columns(status), said(status)) == (shown, ready)


STAGES: dict[str, tuple[JobBuilder, dict[str, tuple[str, str]]]] = {
    "runs": (
        RUNNING,
        {"Prepared": ("True", "StageSucceeded"), "Finetuned": ("False", "Running"), "Converted": ("False", "Waiting")},
    ),
    "starts again": (job().after(75).restarting(failed_s_ago=99), {"Finetuned": ("False", "Starting")}),
    "restarts": (job().failed(exit=75), {"Finetuned": ("False", "Restarting")}),
    "is suspended": (
        suspending(RUNNING),
        {"Finetuned": ("False", "Suspended"), "Converted": ("False", "Waiting"), "Suspended": ("True", "Suspended")},
    ),
    "gives up": (
        job().failed(exit=12),
        {"Finetuned": ("False", "StageFailed"), "Converted": ("False", "NotReached"), "Failed": ("True", "BadData")},
    ),
    "finishes a stage": (job().succeeded(), {"Finetuned": ("True", "StageSucceeded")}),
}


@pytest.mark.parametrize("moment", STAGES)
def test_stage_conditions_say_where_a_stage_stands(moment: str) -> None:
    builder, want = STAGES[moment]
    status = status_after(builder)
    assert {type_: said(status, type_) for type_ in want} == want


def test_a_stage_that_the_spec_does_not_name_has_no_condition() -> None:
    status = status_after(job().running().wanting(evaluate=None, convert=None))
    assert [condition.type for condition in status.conditions] == ["Ready", "Prepared", "Pretrained", "Finetuned"]


def test_every_condition_speaks_of_the_generation_that_was_seen() -> None:
    built = replace(RUNNING.build(), generation=7)
    status = latched(built.status, plan_job(built), observed=RUNNING.observed(), now=NOON)
    assert {status.observed_generation, *(one.observed_generation for one in status.conditions)} == {7}


@pytest.mark.parametrize("phase", list(Phase))
def test_an_edit_is_seen_in_every_phase(phase: Phase) -> None:
    built = replace(job().over(phase).build(), generation=2)
    status = latched(built.status, plan_job(built), observed=Observed(), now=NOON)
    assert status.observed_generation == 2


@pytest.mark.parametrize(("phase", "moved"), [(Phase.RUNNING, False), (Phase.SUCCEEDED, True)])
def test_transition_time_moves_only_with_the_status(phase: Phase, moved: bool) -> None:
    status = JobStatus(phase=Phase.PENDING)
    once = conditions_of(status, [Word(ConditionType.READY, "A", "a")], generation=1, now=NOON)
    later = status.model_copy(update={"phase": phase, "conditions": once})
    (condition,) = conditions_of(later, [Word(ConditionType.READY, "B", "b")], generation=2, now=LATER)
    assert (condition.last_transition_time, condition.reason) == (LATER if moved else NOON, "B")


def test_words_stay_while_nothing_changes() -> None:
    once = conditions_of(JobStatus(), [Word(ConditionType.READY, "A", "a")], generation=1, now=NOON)
    assert conditions_of(JobStatus(conditions=once), [], generation=1, now=LATER) == once


@pytest.mark.parametrize(
    ("phase", "type_", "reason"),
    [(Phase.SUSPENDED, ConditionType.SUSPENDED, "Resumed"), (Phase.FAILED, ConditionType.FAILED, "GoesOn")],
)
def test_what_no_longer_holds_says_so(phase: Phase, type_: ConditionType, reason: str) -> None:
    held = JobStatus(phase=phase, conditions=conditions_of(JobStatus(phase=phase), [], generation=1, now=NOON))
    after = held.model_copy(update={"phase": Phase.PENDING})
    found = find_condition(conditions_of(after, [], generation=1, now=LATER), type_)
    assert found is not None
    assert (found.status, found.reason, found.last_transition_time) == (ConditionStatus.FALSE, reason, LATER)


@pytest.mark.parametrize(
    ("phase", "reason"),
    [(Phase.PENDING, "AttemptStarted"), (Phase.FAILED, "StageFailed"), (Phase.SUSPENDED, "Suspended")],
)
def test_a_restart_that_is_over_says_what_came_of_it(phase: Phase, reason: str) -> None:
    restarting = JobStatus(stages=[StageStatus(name="finetune", state=StageState.RESTARTING)])
    held = restarting.model_copy(update={"conditions": conditions_of(restarting, [], generation=1, now=NOON)})
    after = held.model_copy(update={"phase": phase, "stages": [StageStatus(name="finetune")]})
    found = find_condition(conditions_of(after, [], generation=1, now=LATER), ConditionType.RESTARTING)
    assert found is not None
    assert (found.status, found.reason) == (ConditionStatus.FALSE, reason)


def edited(builder: JobBuilder, **changes: Any) -> JobStatus:
    built = builder.build()
    before = latched(built.status, plan_job(built), observed=builder.observed(), now=NOON)
    after = replace(built, generation=2, spec=spec(**changes), status=before)
    return latched(before, plan_job(after), observed=builder.observed(), now=LATER)


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.FAILED])
def test_a_job_that_is_over_says_that_an_edit_changes_nothing(phase: Phase) -> None:
    status = edited(job().over(phase), evaluate=None)
    ready = find_condition(status.conditions, ConditionType.READY)
    assert ready is not None
    assert (len(status.stages), ready.message.count("edited afterwards")) == (5, 1)


def test_a_stage_that_is_taken_away_while_it_runs_leaves_no_trace() -> None:
    status = edited(RUNNING, finetune=None, convert=None, evaluate=None)
    assert (columns(status), [stage.name for stage in status.stages]) == (
        (None, "Running", None),
        ["prepare", "pretrain"],
    )


def test_a_stage_that_gets_another_before_it_waits_again() -> None:
    without = {"pretrain": None, "finetune": {**spec().finetune.model_dump(mode="json"), "pretrainedProjector": "/p"}}  # type: ignore[union-attr]
    built = replace(RUNNING.build(), spec=spec(**without))
    before = latched(built.status, plan_job(built), observed=RUNNING.observed(), now=NOON)
    assert before.stage("pretrain") is None
    status = latched(before, plan_job(replace(built, spec=spec())), observed=RUNNING.observed(), now=LATER)
    finetune = status.stage("finetune")
    assert finetune is not None
    assert (finetune.state, said(status, "Finetuned"), status.progress) == (
        StageState.WAITING,
        ("False", "Waiting"),
        None,
    )


def test_what_holds_a_start_up_is_not_hidden_by_trying_again() -> None:
    status = status_after(job().after(75).restarting(failed_s_ago=99))
    held = held_up(status, Word(ConditionType.READY, Reason.REFUSED, "quota"), generation=1, now=NOON)
    planned = plan_job(job().build()).stages[2]
    again = StartAttempt(planned, held.stages[2].attempt, str(held.stages[2].job_name))
    assert applied(held, again, plan=plan_job(job().build()), now=LATER) == held
    assert (held.phase, said(held)) == (Phase.PENDING, ("False", "Refused"))


def test_an_attempt_that_exists_was_not_refused() -> None:
    named = job().named_only()
    held = held_up(named.status(), Word(ConditionType.READY, Reason.REFUSED, "quota"), generation=1, now=NOON)
    exists = pending(job().running()).observed()
    status = latched(held, plan_job(named.build()), observed=exists, now=LATER)
    assert said(status) == ("False", "Starting")


@pytest.mark.parametrize(
    ("builder", "want"),
    [
        (job().named_only().waiting(), ("Failed", "SpecRefused", "True")),
        (RUNNING, ("Running", "SpecRefused", "False")),
        (job().over(Phase.SUCCEEDED), ("Succeeded", "NotStarted", None)),
    ],
    ids=["not started", "running", "over"],
)
def test_a_refused_spec_fails_only_what_has_not_begun(builder: JobBuilder, want: tuple[str, str, str | None]) -> None:
    status = spec_refused(builder.status(), "spec.recipe: no", generation=1, now=NOON)
    failed = find_condition(status.conditions, ConditionType.FAILED)
    assert (status.phase, said(status)[1], failed and failed.status.value, status.progress) == (*want, None)


def test_a_spec_that_is_valid_again_is_no_longer_said_to_be_refused() -> None:
    built = RUNNING.build()
    refused = spec_refused(RUNNING.status(), "spec.recipe: no", generation=1, now=NOON)
    status = latched(refused, plan_job(built), observed=RUNNING.observed(), now=LATER)
    assert (said(refused, "Failed"), said(status, "Failed")) == (("False", "SpecRefused"), ("False", "GoesOn"))


def test_every_type_and_reason_is_explained() -> None:
    assert (set(TYPES), set(REASONS)) == (set(ConditionType), set(Reason))
    assert set(STAGE_CONDITIONS) == {stage.value for stage in Stage}
