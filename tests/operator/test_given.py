"""Which model an evaluation scores, and what it says while there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llava_contract.run import EvaluateTask, Stage
from llava_contract.v1alpha1.status import GivenModel, JobStatus, Phase, StageStatus
from llava_operator.core.given import model_of
from llava_operator.core.job import Job, ModelSource
from llava_operator.core.observe import Waiting
from llava_operator.core.plan import plan_job
from llava_operator.core.runfile import run_config
from support.evaluations import DONE, MODEL, evaluation, source
from support.jobs import NOON, job


def found(built: Job) -> GivenModel:
    model = model_of(built)
    assert isinstance(model, GivenModel)
    return model


def task(built: Job) -> EvaluateTask:
    """Give what the first attempt is told."""
    stage = StageStatus(name=Stage.EVALUATE, attempt=1)
    plan = plan_job(built)
    status = built.status.model_copy(update={"stages": [stage], "model": plan.model})
    told = run_config(Job(built.key, "e1", 1, spec=built.spec, status=status), plan.stages[0]).task
    assert isinstance(told, EvaluateTask)
    return told


@pytest.mark.parametrize(
    ("seen", "reason", "words"),
    [
        (None, "ModelNotFound", "there is no LlavaTrainJob tiny in namespace team"),
        (source(Phase.PENDING), "ModelNotReady", "it is Pending"),
        (source(Phase.RUNNING, stage="finetune"), "ModelNotReady", "it is Running in finetune"),
        (source(Phase.SUSPENDED, stage="finetune"), "ModelNotReady", "it is Suspended in finetune"),
        (source(Phase.FAILED, stage="prepare"), "ModelFailed", "failed before it exported a model"),
        (source(Phase.SUCCEEDED, exports=False), "ModelNotExported", "add convert: {} to its spec"),
        (source(Phase.RUNNING, exports=False), "ModelNotExported", "add convert: {} to its spec"),
    ],
)
def test_what_is_missing_has_a_reason_and_a_sentence(seen: ModelSource | None, reason: str, words: str) -> None:
    waiting = model_of(evaluation(seen))
    assert isinstance(waiting, Waiting)
    assert waiting.reason == reason
    assert words in waiting.message


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.SUCCEEDED, Phase.FAILED])
def test_an_exported_model_is_scored_however_its_job_goes_on(phase: Phase) -> None:
    model = found(evaluation(source(phase, model=MODEL)))
    assert (model.uri, model.train_job_name) == (MODEL, "tiny")


def test_a_job_that_trains_has_no_model_to_wait_for() -> None:
    plan = plan_job(job().build())
    assert (plan.model, plan.lacking) == (None, None)


START = {"promptTemplate": "vicuna", "from": {"trainJobName": "tiny"}}


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (None, "no LlavaTrainJob tiny in namespace team: create it, or write model.from.uri"),
        (source(Phase.RUNNING), "it is Running"),
    ],
)
def test_a_training_waits_for_the_model_that_it_starts_from(seen: ModelSource | None, words: str) -> None:
    waits = replace(job().wanting(model=START).build(), source=seen)
    lacking = plan_job(waits).lacking
    assert lacking is not None
    assert words in lacking.message


def test_a_training_starts_from_what_another_has_exported() -> None:
    starts = replace(job().wanting(model=START).build(), source=DONE)
    plan = plan_job(starts)
    assert plan.model == found(starts)
    assert (found(starts).uri, plan.stages[0].pods.model_secret) == (MODEL, "theirs")


def test_a_training_jobs_model_is_reached_as_its_storage_is() -> None:
    model = found(evaluation(DONE))
    assert (model.endpoint, model.credentials_secret_name) == ("http://theirs:9000", "theirs")


@pytest.mark.parametrize(
    ("model", "endpoint", "secret"),
    [
        ({"uri": "s3://b/m"}, "http://ours:9000", "ours"),
        ({"uri": "s3://b/m", "credentialsSecretName": "theirs"}, None, "theirs"),
        ({"uri": "/models/m"}, None, None),
        ({"uri": "hf://org/m"}, None, None),
    ],
)
def test_a_uri_is_reached_as_it_says_or_as_the_storage_is(
    model: dict[str, str], endpoint: str | None, secret: str | None
) -> None:
    got = found(evaluation(model=model))
    assert (got.uri, got.endpoint, got.credentials_secret_name) == (model["uri"], endpoint, secret)


KEPT = GivenModel(train_job_name="tiny", uri="s3://bucket/first")


@pytest.mark.parametrize("seen", [None, DONE, source(Phase.FAILED)])
def test_a_begun_evaluation_keeps_its_model_whatever_becomes_of_the_job(seen: ModelSource | None) -> None:
    assert found(evaluation(seen, status=JobStatus(model=KEPT, start_time=NOON))) == KEPT


def test_before_the_first_attempt_the_newest_model_counts() -> None:
    assert found(evaluation(DONE, status=JobStatus(model=KEPT))).uri == MODEL


def test_another_name_is_another_model() -> None:
    status = JobStatus(model=KEPT.model_copy(update={"train_job_name": "other"}), start_time=NOON)
    assert found(evaluation(DONE, status=status)).uri == MODEL


@pytest.mark.parametrize(
    ("changes", "prefix", "secret"),
    [
        ({}, "LLAVA_MODEL_", "theirs"),
        ({"model": {"uri": "s3://b/m", "endpoint": "http://else:1", "credentialsSecretName": "ours"}}, "", None),
        ({"model": {"uri": "s3://b/m", "endpoint": "http://else:1"}}, "", None),
    ],
)
def test_a_model_elsewhere_is_read_with_its_own_settings(changes: Any, prefix: str, secret: str | None) -> None:
    built = evaluation(DONE, **changes)
    storage = task(built).model_storage
    assert storage is not None
    assert (storage.env_prefix, plan_job(built).stages[0].pods.model_secret) == (prefix, secret)


@pytest.mark.parametrize("model", [{"uri": "s3://b/m"}, {"uri": "/models/m"}])
def test_a_model_beside_the_scores_needs_no_settings(model: dict[str, str]) -> None:
    built = evaluation(model=model)
    assert (task(built).model_storage, plan_job(built).stages[0].pods.model_secret) == (None, None)
