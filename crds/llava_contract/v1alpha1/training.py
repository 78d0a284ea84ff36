"""How the two training stages train."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from llava_contract.v1alpha1.data import DataSource
from llava_contract.schema import Schema, Uri

__all__ = [
    "CheckpointSpec",
    "DeepspeedSpec",
    "LoraSettings",
    "Offload",
    "Precision",
    "Schedule",
    "TrainStageSpec",
    "TuningMode",
    "TuningSpec",
]


class TuningMode(StrEnum):
    """Which weights of a part change."""

    FROZEN = "frozen"
    LORA = "lora"
    QLORA = "qlora"
    FULL = "full"


class Schedule(StrEnum):
    """Shape of the learning rate after warm-up."""

    COSINE = "cosine"
    LINEAR = "linear"
    CONSTANT = "constant"


class Precision(StrEnum):
    """Number format of forward and backward."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Offload(StrEnum):
    """What DeepSpeed keeps in host memory."""

    NONE = "none"
    OPTIMIZER = "optimizer"
    PARAMETERS = "parameters"


class LoraSettings(Schema):
    """Low-rank adapters on every linear layer of a part but the LLM's head."""

    rank: Annotated[int, Field(ge=1, le=4096)]
    """Rank of the two factors."""
    alpha: Annotated[float, Field(gt=0, le=8192)]
    """The adapter's output is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout in front of the adapter."""


class TuningSpec(Schema):
    """How one part of the model is tuned."""

    mode: TuningMode
    """frozen, lora, qlora (LLM only: 4-bit NF4 base weights) or full."""
    lora: LoraSettings | None = None
    """Adapter settings; with mode lora or qlora only."""


class TrainStageSpec(Schema):
    """One training stage; a recipe fills whatever is left out."""

    data: Annotated[list[DataSource], Field(min_length=1, max_length=32)] | None = None
    """The rows to train on."""
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Passes over the data; exclusive with maxSteps."""
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Optimizer steps; exclusive with epochs."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Samples per GPU and micro-batch; the global batch is batchSize x accumulation x number of ranks."""
    accumulation: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Micro-batches per optimizer step."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """Peak learning rate."""
    schedule: Schedule | None = None
    """Shape of the rate after warm-up."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the steps in which the rate rises linearly."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    """Decoupled weight decay of AdamW."""
    max_grad_norm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Gradients are scaled down to this global norm."""
    max_length: Annotated[int, Field(ge=16, le=1_048_576)] | None = None
    """Text tokens per row, an image counting as one; longer rows are cut on the right."""
    pad_to_square: bool | None = None
    """Pad images to a square with the mean colour instead of cropping the centre."""
    llm: TuningSpec | None = None
    """How the LLM is tuned."""
    vision_tower: TuningSpec | None = None
    """How the vision tower is tuned."""
    pretrained_projector: Uri | None = None
    """Projector weights to start from when the job has no pretrain stage (finetune only)."""
    precision: Precision | None = None
    """fp32, bf16 or fp16; bf16 when nothing says otherwise."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of initialisation, order and dropout."""


class DeepspeedSpec(Schema):
    """How DeepSpeed shares the work among ranks."""

    zero_stage: Annotated[int, Field(ge=0, le=3)] = 2
    """ZeRO stage: 1 shares optimizer states, 2 gradients too, 3 parameters too."""
    offload: Offload = Offload.NONE
    """Keep optimizer states (stages 1 to 3) or parameters too (stage 3) in host memory."""


class CheckpointSpec(Schema):
    """When training state is saved and what is kept."""

    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Save after so many optimizer steps; a recipe fills it, 500 when nothing says otherwise."""
    every_minutes: Annotated[int, Field(ge=1, le=10_080)] | None = None
    """Save after so many minutes as well."""
    keep_last: Annotated[int, Field(ge=1, le=1000)] = 2
    """Keep this many newest checkpoints; the newest verified one is never deleted."""
