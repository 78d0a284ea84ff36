"""What an attempt is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llava_contract.run import ConvertTask, EvaluateTask, PrepareTask, RunConfig, Stage, TrainTask
from llava_contract.v1alpha1.status import GivenModel
from llava_operator.core.plan import plan_job
from llava_operator.core.runfile import run_config
from llava_operator.errors import InvalidSpec
from support.jobs import NOON, TRAINING, JobBuilder, commit, job

MADE = {
    "pretrainData": "/d1", "finetuneData": "/d2", "pretrainWeights": "/w1", "finetuneWeights": "/w2",
    "huggingface": "/m",
}  # fmt: skip


def told(builder: JobBuilder, artifacts: dict[str, str] = MADE) -> RunConfig:
    built = builder.build()
    with_artifacts = built.status.model_copy(update={"artifacts": artifacts})
    planned = next(planned for planned in plan_job(built).stages if planned.stage is builder.stage)
    return run_config(type(built)(built.key, built.uid, built.generation, built.spec, with_artifacts), planned)


@pytest.mark.parametrize(
    ("stage", "task", "num_ranks"),
    [
        (Stage.PREPARE, PrepareTask, 1),
        (Stage.PRETRAIN, TrainTask, 2),
        (Stage.FINETUNE, TrainTask, 2),
        (Stage.CONVERT, ConvertTask, 1),
        (Stage.EVALUATE, EvaluateTask, 1),
    ],
)
def test_each_stage_gets_its_own_task_and_survives_the_wire(stage: Stage, task: type, num_ranks: int) -> None:
    config = told(job().at(stage))
    assert (type(config.task), config.num_ranks) == (task, num_ranks)
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_prepare_makes_a_set_for_each_training_stage() -> None:
    task = told(job().at(Stage.PREPARE)).task
    assert isinstance(task, PrepareTask)
    assert [prepared.stage for prepared in task.sets] == [Stage.PRETRAIN, Stage.FINETUNE]


def test_prepare_knows_how_many_samples_a_step_takes() -> None:
    task = told(job().at(Stage.PREPARE).wanting(finetune={**TRAINING, "accumulation": 3})).task
    assert isinstance(task, PrepareTask)
    assert [prepared.global_batch for prepared in task.sets] == [4 * 1 * 2, 4 * 3 * 2]


@pytest.mark.parametrize(
    ("changes", "made", "want"),
    [
        ({}, MADE, "/w1"),
        ({"pretrain": None, "finetune": {**TRAINING, "pretrainedProjector": "/p"}}, {"finetuneData": "/d2"}, "/p"),
    ],
)
def test_finetune_starts_from_the_trained_projector(changes: dict[str, Any], made: dict[str, str], want: str) -> None:
    task = told(job().wanting(**changes), made).task
    assert isinstance(task, TrainTask)
    assert task.pretrained_projector == want


FROM = {"from": {"trainJobName": "first"}, "promptTemplate": "vicuna", "projectorDepth": 2, "visionFeatureLayer": -2}
GIVEN = GivenModel(train_job_name="first", uri="s3://b/first", endpoint="http://theirs:1", credentials_secret_name="k")


def starting(stage: Stage, **changes: Any) -> Any:
    """Give the task of a stage of a job that starts from a whole model."""
    built = job().at(stage).wanting(model=FROM, storage={"uri": "s3://b/demo"}, **changes).build()
    status = built.status.model_copy(update={"artifacts": MADE, "model": GIVEN, "start_time": NOON})
    begun = replace(built, status=status)
    return run_config(begun, next(planned for planned in plan_job(begun).stages if planned.stage is stage)).task


@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.PRETRAIN, Stage.FINETUNE, Stage.CONVERT])
def test_all_parts_of_a_whole_model_lie_in_one_folder(stage: Stage) -> None:
    model = starting(stage).model
    assert (model.llm, model.vision_tower, model.is_whole) == ("s3://b/first", "s3://b/first", True)
    assert (model.storage.endpoint, model.storage.env_prefix) == ("http://theirs:1", "LLAVA_MODEL_")


@pytest.mark.parametrize(
    ("stage", "changes", "made"),
    [
        (Stage.PREPARE, {}, "s3://b/first"),
        (Stage.PRETRAIN, {}, "s3://b/first"),
        (Stage.FINETUNE, {}, "/w1"),
    ],
)
def test_the_first_training_starts_from_the_projector_of_the_whole_model(
    stage: Stage, changes: dict[str, Any], made: str
) -> None:
    assert starting(stage, **changes).pretrained_projector == made


def test_what_a_training_makes_is_scored_and_not_what_it_started_from() -> None:
    task = starting(Stage.EVALUATE)
    assert (task.model_uri, task.model_storage) == ("/m", None)


def test_prepare_knows_the_projector_that_the_user_brings() -> None:
    changes = {"pretrain": None, "finetune": {**TRAINING, "pretrainedProjector": "/p"}}
    task = told(job().at(Stage.PREPARE).wanting(**changes)).task
    assert isinstance(task, PrepareTask)
    assert task.pretrained_projector == "/p"


def test_missing_artifact_is_named() -> None:
    with pytest.raises(InvalidSpec, match="huggingface"):
        told(job().at(Stage.EVALUATE), {})


@pytest.mark.parametrize(
    ("builder", "last_commit", "resume_before"),
    [
        (job(), None, None),
        (job().committed(5), 5, None),
        (job().after(75, steps=(5,)).committed(5), 5, None),
        (job().after(77, steps=(5,)), None, 5),
        (job().after(77, 137, steps=(5, None)), None, 5),
        (job().after(77, steps=(5,)).committed(3), 3, 5),
        (job().after(77, steps=(5,)).committed(8), 8, None),
        (job().after(77, steps=(None,)), None, None),
    ],
)
def test_resumes_from_the_last_commit_but_never_from_one_that_led_to_nan(
    builder: JobBuilder, last_commit: int | None, resume_before: int | None
) -> None:
    config = told(builder)
    assert config.last_commit == (None if last_commit is None else commit(last_commit))
    assert config.resume_before_step == resume_before
