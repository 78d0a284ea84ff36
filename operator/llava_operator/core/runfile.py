"""What one attempt is told: the effective spec and what earlier stages made become a RunConfig, every value decided."""

from __future__ import annotations

from typing import TypeVar, assert_never

from llava_contract.causes import Retry, by_exit_code
from llava_contract.result import Artifact
from llava_contract.run import (
    ConvertTask,
    EvaluateTask,
    JobKind,
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
from llava_operator.core.given import model_storage
from llava_operator.core.job import Job
from llava_operator.core.plan import StagePlan
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
    spec = job.spec
    assert isinstance(spec, LlavaTrainJobSpec), f"an evaluation has no stage {stage}"
    match stage:
        case Stage.PREPARE:
            return _prepare(job, spec)
        case Stage.PRETRAIN | Stage.FINETUNE:
            return _train(job, spec, stage)
        case Stage.CONVERT:
            return _convert(job, spec)
        case _:
            assert_never(stage)


def _prepare(job: Job, spec: LlavaTrainJobSpec) -> PrepareTask:
    stages = {Stage.PRETRAIN: spec.pretrain, Stage.FINETUNE: spec.finetune}
    return PrepareTask(
        model=_parts(job, spec),
        pretrained_projector=_brought(job, spec),
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


def _train(job: Job, spec: LlavaTrainJobSpec, stage: Stage) -> TrainTask:
    artifacts = job.status.artifacts
    is_first = stage is Stage.PRETRAIN
    training = _given(spec.pretrain if is_first else spec.finetune, stage)
    data = Artifact.PRETRAIN_DATA if is_first else Artifact.FINETUNE_DATA
    made = None if is_first else artifacts.get(Artifact.PRETRAIN_WEIGHTS)
    return TrainTask(
        model=_parts(job, spec),
        prepared=_made(artifacts, data),
        pretrained_projector=made or _brought(job, spec),
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
        gradient_checkpointing=_given(training.gradient_checkpointing, f"{stage}.gradientCheckpointing"),
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


def _convert(job: Job, spec: LlavaTrainJobSpec) -> ConvertTask:
    artifacts = job.status.artifacts
    convert = _given(spec.convert, "convert")
    trained: TrainStageSpec = _given(spec.finetune or spec.pretrain, "finetune")
    weights = (Artifact.PRETRAIN_WEIGHTS, Artifact.FINETUNE_WEIGHTS)
    return ConvertTask(
        model=_parts(job, spec),
        checkpoints=[artifacts[name] for name in weights if name in artifacts],
        llm=trained.llm or _FROZEN,
        vision_tower=trained.vision_tower or _FROZEN,
        formats=convert.formats,
        dtype=convert.dtype,
        pad_to_square=trained.pad_to_square is not False,
    )


def _evaluate(job: Job) -> EvaluateTask:
    """Score the model that status names, or the one that the job itself has made."""
    evaluate = _given(job.spec.evaluate, "evaluate")
    model = job.status.model if job.key.kind is JobKind.EVAL else None
    return EvaluateTask(
        model_uri=model.uri if model else _made(job.status.artifacts, Artifact.HUGGINGFACE),
        model_storage=model_storage(model, job.spec.storage),
        prompt_template=None,
        benchmarks=evaluate.benchmarks,
        batch_size=evaluate.batch_size,
        max_new_tokens=evaluate.max_new_tokens,
        minimum_accuracy=evaluate.minimum_accuracy,
    )


def _brought(job: Job, spec: LlavaTrainJobSpec) -> str | None:
    """Find the projector that the user or a whole model brings."""
    model = job.status.model
    return model.uri if model else spec.finetune.pretrained_projector if spec.finetune else None


def _parts(job: Job, spec: LlavaTrainJobSpec) -> ModelParts:
    """Name the folder of each part: of a whole model, one and the same."""
    model, whole = spec.model, job.status.model
    assert bool(model.from_model) == bool(whole), "a stage begins when the model is known"
    return ModelParts(
        llm=whole.uri if whole else _given(model.llm, "model.llm").uri,
        vision_tower=whole.uri if whole else _given(model.vision_tower, "model.visionTower").uri,
        storage=model_storage(whole, spec.storage),
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
