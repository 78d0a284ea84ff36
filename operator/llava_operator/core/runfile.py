"""What one attempt is told: the effective spec and what earlier stages made become a RunConfig, every value decided."""

from __future__ import annotations

from typing import TypeVar, assert_never

from llava_contract.causes import Retry, by_exit_code
from llava_contract.result import Artifact
from llava_contract.run import (
    ConvertTask,
    EvaluateTask,
    JobRef,
    ModelParts,
    PreparedSetConfig,
    PrepareTask,
    RunConfig,
    Stage,
    StorageTarget,
    TrainTask,
)  # fmt: skip
from llava_contract.v1alpha1.status import StageStatus
from llava_contract.v1alpha1.storage import StorageSpec
from llava_contract.v1alpha1.training import TrainStageSpec, TuningMode, TuningSpec
from llava_contract.v1alpha1.trainjob import LlavaTrainJobSpec
from llava_operator.core.job import Job
from llava_operator.core.plan import StagePlan
from llava_operator.core.scored import model_storage
from llava_operator.errors import InvalidSpec

__all__ = ["run_config", "storage_target"]

Value = TypeVar("Value")
_FROZEN = TuningSpec(mode=TuningMode.FROZEN)
_DEFAULT_SAVE_STEPS = 500


def run_config(job: Job, planned: StagePlan) -> RunConfig:
    """Write the configuration of the attempt that status names for this stage; InvalidSpec names a missing value."""
    spec = job.spec
    stage = job.status.stage(planned.stage)
    assert stage is not None, f"status names no attempt at {planned.stage}"
    before = _resume_before(stage)
    return RunConfig(
        job=JobRef(kind=job.key.kind, namespace=job.key.namespace, name=job.key.name, uid=job.uid),
        stage=planned.stage,
        attempt=stage.attempt,
        num_ranks=planned.num_ranks,
        storage=storage_target(spec.storage),
        hang_timeout_seconds=spec.run_policy.hang_timeout_seconds,
        last_commit=stage.checkpoint,
        resume_before_step=before,
        task=_task(job, planned.stage),
    )


def storage_target(storage: StorageSpec) -> StorageTarget:
    """Take from a spec's storage what a process needs to reach it."""
    return StorageTarget(
        uri=storage.uri, endpoint=storage.endpoint, region=storage.region, path_style=storage.path_style
    )


def _resume_before(stage: StageStatus) -> int | None:
    """Name the step of the commit that led to a NaN loss, until a later commit is known."""
    bad = [record.checkpoint_step for record in stage.history if by_exit_code(record.exit_code).retry is Retry.ROLLBACK]
    if not bad or bad[-1] is None or (stage.checkpoint and stage.checkpoint.step >= bad[-1]):
        return None
    return bad[-1]


def _task(job: Job, stage: Stage) -> PrepareTask | TrainTask | ConvertTask | EvaluateTask:
    if stage is Stage.EVALUATE:
        return _evaluate(job)
    spec, artifacts = job.spec, job.status.artifacts
    assert isinstance(spec, LlavaTrainJobSpec), f"an evaluation has no stage {stage}"
    match stage:
        case Stage.PREPARE:
            return _prepare(spec)
        case Stage.PRETRAIN | Stage.FINETUNE:
            return _train(spec, stage, artifacts)
        case Stage.CONVERT:
            return _convert(spec, artifacts)
        case _:
            assert_never(stage)


def _prepare(spec: LlavaTrainJobSpec) -> PrepareTask:
    stages = {Stage.PRETRAIN: spec.pretrain, Stage.FINETUNE: spec.finetune}
    return PrepareTask(
        model=_parts(spec),
        sets=[
            PreparedSetConfig(
                stage=stage,
                data=_given(training.data, f"{stage}.data"),
                max_length=_given(training.max_length, f"{stage}.maxLength"),
                pad_to_square=_given(training.pad_to_square, f"{stage}.padToSquare"),
                global_batch=_given(training.batch_size, f"{stage}.batchSize")
                * _given(training.accumulation, f"{stage}.accumulation")
                * spec.workers.num_ranks,
                held_out=training.validation.fraction if training.validation else 0.0,
                sample_images=training.samples.images if training.samples else [],
            )
            for stage, training in stages.items()
            if training is not None
        ],
        on_bad_row=spec.prepare.on_bad_row,
        max_bad_fraction=spec.prepare.max_bad_fraction,
        benchmarks=spec.evaluate.benchmarks if spec.evaluate else [],
    )


def _train(spec: LlavaTrainJobSpec, stage: Stage, artifacts: dict[str, str]) -> TrainTask:
    is_first = stage is Stage.PRETRAIN
    training = _given(spec.pretrain if is_first else spec.finetune, stage)
    data = Artifact.PRETRAIN_DATA if is_first else Artifact.FINETUNE_DATA
    projector = None if is_first else artifacts.get(Artifact.PRETRAIN_WEIGHTS) or training.pretrained_projector
    return TrainTask(
        model=_parts(spec),
        prepared=_made(artifacts, data),
        pretrained_projector=projector,
        llm=training.llm or _FROZEN,
        vision_tower=training.vision_tower or _FROZEN,
        epochs=training.epochs,
        max_steps=training.max_steps,
        batch_size=_given(training.batch_size, f"{stage}.batchSize"),
        accumulation=_given(training.accumulation, f"{stage}.accumulation"),
        max_length=_given(training.max_length, f"{stage}.maxLength"),
        learning_rate=_given(training.learning_rate, f"{stage}.learningRate"),
        schedule=_given(training.schedule, f"{stage}.schedule"),
        warmup_ratio=_given(training.warmup_ratio, f"{stage}.warmupRatio"),
        weight_decay=_given(training.weight_decay, f"{stage}.weightDecay"),
        max_grad_norm=_given(training.max_grad_norm, f"{stage}.maxGradNorm"),
        precision=_given(training.precision, f"{stage}.precision"),
        order=_given(training.order, f"{stage}.order"),
        seed=training.seed,
        deterministic=training.deterministic,
        stop_on_loss_spike=training.stop_on_loss_spike,
        validation=training.validation,
        samples=training.samples,
        deepspeed=spec.deepspeed,
        save_every_steps=spec.checkpoint.every_steps or _DEFAULT_SAVE_STEPS,
        save_every_minutes=spec.checkpoint.every_minutes,
        keep_last=spec.checkpoint.keep_last,
        tracking=spec.tracking,
    )


def _convert(spec: LlavaTrainJobSpec, artifacts: dict[str, str]) -> ConvertTask:
    convert = _given(spec.convert, "convert")
    trained: TrainStageSpec = _given(spec.finetune or spec.pretrain, "finetune")
    weights = (Artifact.PRETRAIN_WEIGHTS, Artifact.FINETUNE_WEIGHTS)
    return ConvertTask(
        model=_parts(spec),
        checkpoints=[artifacts[name] for name in weights if name in artifacts],
        llm=trained.llm or _FROZEN,
        vision_tower=trained.vision_tower or _FROZEN,
        formats=convert.formats,
        dtype=convert.dtype,
        pad_to_square=trained.pad_to_square is not False,
    )


def _evaluate(job: Job) -> EvaluateTask:
    """Score the model that status names, or the one that the job itself has made."""
    evaluate, model = _given(job.spec.evaluate, "evaluate"), job.status.model
    return EvaluateTask(
        model_uri=model.uri if model else _made(job.status.artifacts, Artifact.HUGGINGFACE),
        model_storage=model_storage(model, job.spec.storage),
        prompt_template=None,
        benchmarks=evaluate.benchmarks,
        batch_size=evaluate.batch_size,
        max_new_tokens=evaluate.max_new_tokens,
        minimum_accuracy=evaluate.minimum_accuracy,
    )


def _parts(spec: LlavaTrainJobSpec) -> ModelParts:
    model = spec.model
    return ModelParts(
        llm=_given(model.llm, "model.llm").uri,
        vision_tower=_given(model.vision_tower, "model.visionTower").uri,
        prompt_template=_given(model.prompt_template, "model.promptTemplate"),
        projector_depth=_given(model.projector_depth, "model.projectorDepth"),
        vision_feature_layer=_given(model.vision_feature_layer, "model.visionFeatureLayer"),
    )


def _given(value: Value | None, field: str) -> Value:
    if value is None:
        raise InvalidSpec(f"spec.{field} is missing and no recipe fills it: write it, or name a recipe.")
    return value


def _made(artifacts: dict[str, str], name: Artifact) -> str:
    """Find what an earlier stage made."""
    if name not in artifacts:
        raise InvalidSpec(f"no earlier stage of this job makes {name.value}: add the stage that does.")
    return artifacts[name]
