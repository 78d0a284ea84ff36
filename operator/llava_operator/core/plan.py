"""What a spec asks for, in order: the stages that it names, each with the size of its gang, and the job's limits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace

from llava_contract.run import Stage
from llava_contract.v1alpha1 import JobSpec, LlavaEvalJobSpec
from llava_contract.v1alpha1.pods import CacheVolume, PodOverlay, PodResources
from llava_contract.v1alpha1.status import GivenModel
from llava_contract.v1alpha1.workers import WorkersSpec
from llava_operator.core.given import model_of, model_secret
from llava_operator.core.job import Job
from llava_operator.core.observe import Waiting

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
    cache: CacheVolume | None = None
    queue_name: str | None = None
    credentials_secret: str | None = None
    model_secret: str | None = None
    """With which a model is read that another job made, where that takes another Secret."""


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
    ttl_s: int | None
    gate: Gate | None
    digest: str
    """Of what attempts are made from: all of the spec but the limits of the job."""
    model: GivenModel | None = None
    """What an evaluation scores or a training starts from."""
    lacking: Waiting | None = None
    """Why nothing can be started yet."""


def plan_job(job: Job) -> Plan:
    """Say what the job asks for; stages that its spec leaves out are skipped."""
    spec, policy, found = job.spec, job.spec.run_policy, model_of(job)
    model = found if isinstance(found, GivenModel) else None
    return Plan(
        name=job.key.name,
        uid=job.uid,
        generation=job.generation,
        stages=tuple(_stage_plan(stage, spec, model) for stage in _wanted(spec)),
        suspend=policy.suspend,
        max_restarts=policy.max_restarts,
        active_deadline_s=policy.active_deadline_seconds,
        hang_timeout_s=policy.hang_timeout_seconds,
        ttl_s=policy.ttl_seconds_after_finished,
        gate=_gate(spec),
        digest=_digest(spec),
        model=model,
        lacking=found if isinstance(found, Waiting) else None,
    )


def _digest(spec: JobSpec) -> str:
    """Leave defaults out: a newer operator that knows more fields shall not take every spec for an edited one."""
    work = spec.model_dump(mode="json", exclude={"run_policy"}, exclude_defaults=True)
    text = json.dumps([work, spec.run_policy.queue_name], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _wanted(spec: JobSpec) -> list[Stage]:
    if isinstance(spec, LlavaEvalJobSpec):
        return [Stage.EVALUATE]
    named = {
        Stage.PREPARE: spec.pretrain or spec.finetune,
        Stage.PRETRAIN: spec.pretrain,
        Stage.FINETUNE: spec.finetune,
        Stage.CONVERT: spec.convert,
        Stage.EVALUATE: spec.evaluate,
    }
    return [stage for stage, settings in named.items() if settings is not None]


def _stage_plan(stage: Stage, spec: JobSpec, model: GivenModel | None) -> StagePlan:
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
        pods=replace(
            _pod_plan(workers, is_light=stage not in _NEEDS_GPU),
            credentials_secret=spec.storage.credentials_secret_name,
            queue_name=spec.run_policy.queue_name,
            model_secret=model_secret(model, spec.storage),
        ),
    )


def _pod_plan(workers: WorkersSpec, *, is_light: bool) -> PodPlan:
    """Take what the spec says for pods that need no GPU, or for the others."""
    return PodPlan(
        image=workers.image,
        image_pull_policy=workers.image_pull_policy,
        gpu_resource_name=workers.gpu_resource_name,
        resources=workers.cpu.resources if is_light else workers.resources,
        overlay=workers.cpu.pod_template if is_light else workers.pod_template,
        cache=workers.cache,
    )


def _gate(spec: JobSpec) -> Gate | None:
    if spec.evaluate is None:
        return None
    first = spec.evaluate.benchmarks[0].name
    return Gate(f"{first}/vlmevalkit/circular", spec.evaluate.minimum_accuracy)
