"""LlavaTrainJob: one YAML file that becomes a trained, converted and scored model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from llava_contract.v1alpha1.conversion import ConvertSpec
from llava_contract.v1alpha1.data import PrepareSpec
from llava_contract.v1alpha1.evaluation import EvaluateSpec
from llava_contract.v1alpha1.model import ModelSpec
from llava_contract.v1alpha1.policy import RunPolicy
from llava_contract.schema import Schema
from llava_contract.v1alpha1.status import JobStatus
from llava_contract.v1alpha1.storage import StorageSpec
from llava_contract.v1alpha1.training import CheckpointSpec, DeepspeedSpec, TrainStageSpec
from llava_contract.v1alpha1.workers import WorkersSpec

__all__ = ["LlavaTrainJob", "LlavaTrainJobSpec"]


class LlavaTrainJobSpec(Schema):
    """prepare -> pretrain -> finetune -> convert -> evaluate; a stage that is left out is skipped."""

    recipe: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """Name of a published recipe or job recipe; it fills everything that is not written here (`llava recipe list`)."""
    model: ModelSpec = ModelSpec()
    """What the model is assembled from."""
    storage: StorageSpec
    """Where the job keeps everything it makes."""
    prepare: PrepareSpec = PrepareSpec()
    """The data audit before training."""
    pretrain: TrainStageSpec | None = None
    """Stage 1: the projector learns on captions."""
    finetune: TrainStageSpec | None = None
    """Stage 2: projector and LLM learn on instructions."""
    convert: ConvertSpec | None = None
    """Export of the result."""
    evaluate: EvaluateSpec | None = None
    """Scores of the exported model."""
    deepspeed: DeepspeedSpec = DeepspeedSpec()
    """How DeepSpeed shares the work."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """When training state is saved."""
    workers: WorkersSpec = WorkersSpec()
    """How many processes train and on what."""
    run_policy: RunPolicy = RunPolicy()
    """Limits of the job."""


class LlavaTrainJob(Schema):
    """The resource."""

    api_version: Literal["llava.dev/v1alpha1"]
    """llava.dev/v1alpha1"""
    kind: Literal["LlavaTrainJob"]
    """LlavaTrainJob"""
    metadata: dict[str, Any]
    """Standard object metadata; the name is a DNS-1035 label of at most 30 characters."""
    spec: LlavaTrainJobSpec
    """What to do."""
    status: JobStatus | None = None
    """How it goes."""
