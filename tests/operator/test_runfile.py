"""What an attempt is told."""

from __future__ import annotations

from typing import Any

import pytest

from llava_contract.run import ConvertTask, EvaluateTask, PrepareTask, RunConfig, Stage, TrainTask
from llava_operator.core.plan import plan_job
from llava_operator.core.runfile import run_config
from llava_operator.errors import InvalidSpec
from support.jobs import TRAINING, JobBuilder, commit, job

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
