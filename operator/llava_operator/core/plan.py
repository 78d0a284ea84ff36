"""What a spec asks for, in order: the stages that it names, each with the size of its gang, and the job's limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from llava_contract.run import Stage
from llava_contract.v1alpha1.pods import PodOverlay, PodResources
from llava_contract.v1alpha1.trainjob import LlavaTrainJobSpec
from llava_contract.v1alpha1.workers import WorkersSpec
from llava_operator.core.job import Job

__all__ = ["Gate", "Plan", "PodPlan", "StagePlan", "plan_job"]

_TRAINING = (Stage.PRETRAIN, Stage.FINETUNE)
_NEEDS_GPU = (*_TRAINING, Stage.EVALUATE)


@dataclass(frozen=True)
class PodPlan:
    """What the spec says about the pods of one stage; processes on this machine have no use for it."""

    image: str | None = None
    image_pull_policy: str | None = None
    gpu_resource_name: str = "nvidia.com/gpu"
    resources: PodResources = field(default_factory=PodResources)
    overlay: PodOverlay = field(default_factory=PodOverlay)
    credentials_secret: str | None = None


@dataclass(frozen=True)
class StagePlan:
    """One stage and what it runs on."""

    stage: Stage
    num_workers: int
    num_ranks: int
    gpus_per_worker: int
    is_training: bool
    is_cpu_job: bool
    """Whether no stage of the job has a GPU."""
    pods: PodPlan = field(default_factory=PodPlan)


@dataclass(frozen=True)
class Gate:
    """The accuracy below which the job fails: the first benchmark's circular accuracy under VLMEvalKit's rule."""

    result: str
    minimum: float | None


@dataclass(frozen=True)
class Plan:
    """Everything that the policies need to know of a job but its status."""

    name: str
    uid: str
    generation: int
    stages: tuple[StagePlan, ...]
    suspend: bool
    max_restarts: int
    active_deadline_s: int | None
    hang_timeout_s: int
    gate: Gate | None


def plan_job(job: Job) -> Plan:
    """Say what the job asks for; stages that its spec leaves out are skipped."""
    spec, policy = job.spec, job.spec.run_policy
    return Plan(
        name=job.key.name,
        uid=job.uid,
        generation=job.generation,
        stages=tuple(_stage_plan(stage, spec) for stage in _wanted(spec)),
        suspend=policy.suspend,
        max_restarts=policy.max_restarts,
        active_deadline_s=policy.active_deadline_seconds,
        hang_timeout_s=policy.hang_timeout_seconds,
        gate=_gate(spec),
    )


def _wanted(spec: LlavaTrainJobSpec) -> list[Stage]:
    named = {
        Stage.PREPARE: spec.pretrain or spec.finetune,
        Stage.PRETRAIN: spec.pretrain,
        Stage.FINETUNE: spec.finetune,
        Stage.CONVERT: spec.convert,
        Stage.EVALUATE: spec.evaluate,
    }
    return [stage for stage, settings in named.items() if settings is not None]


def _stage_plan(stage: Stage, spec: LlavaTrainJobSpec) -> StagePlan:
    """Give training stages the whole gang; prepare and convert stay off the GPUs, evaluate takes one."""
    workers = spec.workers
    is_training = stage in _TRAINING
    gpus = workers.gpus_per_worker if is_training else min(1, workers.gpus_per_worker)
    return StagePlan(
        stage=stage,
        num_workers=workers.replicas if is_training else 1,
        num_ranks=workers.num_ranks if is_training else 1,
        gpus_per_worker=gpus if stage in _NEEDS_GPU else 0,
        is_training=is_training,
        is_cpu_job=workers.gpus_per_worker == 0,
        pods=_pod_plan(workers, spec.storage.credentials_secret_name, is_light=stage not in _NEEDS_GPU),
    )


def _pod_plan(workers: WorkersSpec, credentials_secret: str | None, *, is_light: bool) -> PodPlan:
    """Take what the spec says for pods that need no GPU, or for the others."""
    return PodPlan(
        image=workers.image,
        image_pull_policy=workers.image_pull_policy,
        gpu_resource_name=workers.gpu_resource_name,
        resources=workers.cpu.resources if is_light else workers.resources,
        overlay=workers.cpu.pod_template if is_light else workers.pod_template,
        credentials_secret=credentials_secret,
    )


def _gate(spec: LlavaTrainJobSpec) -> Gate | None:
    if spec.evaluate is None:
        return None
    first = spec.evaluate.benchmarks[0].name
    return Gate(f"{first}/vlmevalkit/circular", spec.evaluate.minimum_accuracy)
