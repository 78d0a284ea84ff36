"""The life of an evaluation: the same decisions as for any job, about one stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llava_contract.run import EvaluateTask, Stage
from llava_contract.v1alpha1.status import JobStatus, Phase
from llava_operator.core.conditions import find_condition
from llava_operator.core.decision import StartAttempt, Wait
from llava_operator.core.job import ModelSource
from llava_operator.core.naming import child_name
from support.evaluations import DONE, KEY, MODEL, eval_spec, evaluation, source
from support.fakes import World

FIRST = child_name(KEY.name, "e1", stage=Stage.EVALUATE, attempt=1)


def world(seen: ModelSource | None = DONE, **changes: Any) -> World:
    return World(job=evaluation(seen, **changes))


def ready(status: JobStatus) -> tuple[Phase, str]:
    condition = find_condition(status.conditions, "Ready")
    assert condition is not None
    return status.phase, condition.reason


def test_one_stage_scores_the_named_model() -> None:
    done = world()
    status = done.run()
    (config,) = done.configs
    assert isinstance(config.task, EvaluateTask)
    assert (config.stage, config.job.kind, config.task.model_uri) == (Stage.EVALUATE, KEY.kind, MODEL)
    assert (status.phase, status.score, [stage.name for stage in status.stages]) == (
        Phase.SUCCEEDED, "87.5", ["evaluate"],
    )  # fmt: skip
    assert set(status.artifacts) == {"scores", "report"}


def test_status_names_the_model_that_is_scored() -> None:
    model = world().run().model
    assert model is not None
    assert (model.train_job_name, model.uri) == ("tiny", MODEL)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (None, "ModelNotFound"),
        (source(Phase.RUNNING, stage="finetune"), "ModelNotReady"),
        (source(Phase.FAILED), "ModelFailed"),
        (source(exports=False), "ModelNotExported"),
    ],
)
def test_without_a_model_it_is_pending_and_says_why(seen: ModelSource | None, reason: str) -> None:
    waiting = world(seen)
    assert waiting.step() == Wait()
    assert ready(waiting.job.status) == (Phase.PENDING, reason)
    assert waiting.attempts == {}


def test_waiting_is_written_once() -> None:
    waiting = world(None)
    for _ in range(3):
        waiting.step()
    assert len(waiting.log) == 1


def test_it_begins_as_soon_as_the_model_is_there() -> None:
    waiting = world(source(Phase.RUNNING, stage="convert"))
    waiting.step()
    waiting.job = replace(waiting.job, source=DONE)
    assert isinstance(waiting.step(), StartAttempt)
    assert ready(waiting.job.status)[1] == "Starting"


def test_it_goes_on_through_a_restart_when_the_training_job_is_deleted() -> None:
    orphaned = world()
    orphaned.exits[Stage.EVALUATE, 1] = 75
    orphaned.step()
    orphaned.job = replace(orphaned.job, source=None)
    status = orphaned.run()
    assert (status.phase, status.restarts) == (Phase.SUCCEEDED, 1)
    assert [config.task.model_uri for config in orphaned.configs if isinstance(config.task, EvaluateTask)] == [
        MODEL
    ] * 2


def test_a_suspended_evaluation_starts_nothing_and_goes_on_when_resumed() -> None:
    held = world(runPolicy={"suspend": True})
    assert held.run().phase is Phase.SUSPENDED
    assert held.attempts == {}
    held.job = replace(held.job, spec=eval_spec())
    assert held.run().phase is Phase.SUCCEEDED


def test_suspension_is_shown_rather_than_what_is_missing() -> None:
    assert ready(world(None, runPolicy={"suspend": True}).run()) == (Phase.SUSPENDED, "Suspended")


def test_resumed_without_a_model_it_says_what_is_missing() -> None:
    held = world(None, runPolicy={"suspend": True})
    held.run()
    held.job = replace(held.job, spec=eval_spec())
    held.step()
    assert ready(held.job.status) == (Phase.PENDING, "ModelNotFound")


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"evaluate": {"benchmarks": [{"name": "shapes", "uri": "/s.tsv"}], "minimumAccuracy": 0.9}}, 0,
         "BelowMinimumAccuracy"),
        ({"runPolicy": {"maxRestarts": 0}}, 75, "Infrastructure"),
        ({}, 13, "MissingInput"),
        ({"runPolicy": {"activeDeadlineSeconds": 60}}, 75, "DeadlineExceeded"),
    ],
)  # fmt: skip
def test_it_fails_as_training_jobs_do(changes: dict[str, Any], code: int, reason: str) -> None:
    failing = world(**changes)
    failing.exits = {(Stage.EVALUATE, number): code for number in range(1, 9)}
    assert ready(failing.run()) == (Phase.FAILED, reason)


def test_time_spent_waiting_for_a_model_is_not_time_of_the_job() -> None:
    waiting = world(None, runPolicy={"activeDeadlineSeconds": 600})
    for _ in range(20):
        waiting.step()
    waiting.job = replace(waiting.job, source=DONE)
    assert waiting.run().phase is Phase.SUCCEEDED


@pytest.mark.parametrize("crash_at", range(9))
def test_a_crash_anywhere_changes_nothing(crash_at: int) -> None:
    crashing = world()
    crashing.crash_at = crash_at
    assert crashing.run_through_crashes().phase is Phase.SUCCEEDED
    assert list(crashing.attempts) == [FIRST]


def test_a_training_job_of_the_same_name_has_other_children() -> None:
    assert child_name(KEY.name, "t1", stage=Stage.EVALUATE, attempt=1) != FIRST
