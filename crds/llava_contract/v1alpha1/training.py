"""How the two training stages train."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from llava_contract import rules
from llava_contract.schema import Schema, Uri, filled_by_recipe
from llava_contract.v1alpha1.data import DataSource
from llava_contract.v1alpha1.watching import SamplesSpec, ValidationSpec

__all__ = [
    "CheckpointSpec",
    "DeepspeedSpec",
    "LoraSettings",
    "Offload",
    "Order",
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


class Order(StrEnum):
    """Which rows come together in a step."""

    SHUFFLED = "shuffled"
    LENGTH_GROUPED = "lengthGrouped"


class LoraSettings(Schema):
    """Low-rank adapters on every linear layer of a part but the LLM's head."""

    rank: Annotated[int, Field(ge=1, le=4096)]
    """Rank of the two factors."""
    alpha: Annotated[float, Field(gt=0, le=8192)]
    """The adapter's output is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = filled_by_recipe(0.0)
    """Dropout in front of the adapter; a recipe fills it, 0 when nothing says otherwise."""


class TuningSpec(Schema):
    """How one part of the model is tuned."""

    RULES: ClassVar = (rules.LORA_NEEDS_MODE,)

    mode: TuningMode
    """frozen, lora, qlora (LLM only: 4-bit NF4 base weights) or full."""
    lora: LoraSettings | None = None
    """Adapter settings, with mode lora or qlora only; a recipe fills what is left out."""


class TrainStageSpec(Schema):
    """One training stage; a recipe fills whatever is left out."""

    RULES: ClassVar = (rules.EPOCHS_OR_STEPS, rules.QLORA_IS_FOR_THE_LLM)

    data: Annotated[list[DataSource], Field(min_length=1, max_length=32)] | None = None
    """The rows to train on; a recipe names the published sets, found under spec.dataRoot."""
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Passes over the data; exclusive with maxSteps. 1 when nothing says otherwise."""
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Optimizer steps; exclusive with epochs."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Samples per GPU and micro-batch; the global batch is batchSize x accumulation x number of ranks."""
    accumulation: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Micro-batches per optimizer step; 1 when nothing says otherwise."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """Peak learning rate of AdamW (betas 0.9 and 0.999)."""
    schedule: Schedule | None = None
    """Shape of the rate after warm-up: cosine or linear to 0, or constant; cosine when nothing says otherwise."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the steps in which the rate rises linearly, at least one step; 0.03 when nothing says otherwise."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    """Decoupled weight decay of AdamW; 0 when nothing says otherwise."""
    max_grad_norm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Gradients are scaled down to this global norm; 1 when nothing says otherwise."""
    max_length: Annotated[int, Field(ge=16, le=1_048_576)] | None = None
    """Text tokens per row, an image counting as one; the rest is cut. 1472 when nothing says otherwise."""
    pad_to_square: bool | None = None
    """Pad images to a square with the mean colour instead of cropping the centre; when nothing says otherwise,
    finetune pads and pretrain crops."""
    llm: TuningSpec | None = None
    """How the LLM is tuned; pretrain keeps it frozen when nothing says otherwise."""
    vision_tower: TuningSpec | None = None
    """How the vision tower is tuned (frozen, lora or full); frozen when nothing says otherwise."""
    pretrained_projector: Uri | None = None
    """The projector to start from when the job has no pretrain stage (finetune only): a checkpoint of another job, a
    file with a projector in it (XTuner's .pth, LLaVA's mm_projector.bin, safetensors), or XTuner's projector folder."""
    precision: Precision | None = None
    """fp32, bf16 or fp16; bf16 when nothing says otherwise."""
    order: Order | None = None
    """shuffled, or lengthGrouped: rows of like length together, those with images apart from those without, as XTuner's
    finetune draws them. Rows are packed either way, so that neither order pays for padding; shuffled when nothing says
    otherwise."""
    gradient_checkpointing: bool | None = None
    """Keep only what enters each layer and compute the rest anew in the backward pass: much less memory for about a
    third more time. A recipe fills it, as XTuner always does; false when nothing says otherwise."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of initialisation, order and dropout."""
    deterministic: bool = False
    """Equal runs give equal losses and weights to the last bit on GPUs too, more slowly; on CPUs they always do."""
    stop_on_loss_spike: bool = True
    """End the attempt, naming the rows, when the loss stays far above its course for 5 steps; the next attempt goes on
    from an earlier checkpoint. A loss that is not a number always ends it."""
    validation: ValidationSpec | None = None
    """Rows that are held out; left out, none are."""
    samples: SamplesSpec | None = None
    """Sample answers while it trains; a recipe fills its prompts."""


class DeepspeedSpec(Schema):
    """How DeepSpeed shares the work among ranks."""

    RULES: ClassVar = (rules.OFFLOAD_NEEDS_ZERO, rules.OFFLOAD_PARAMETERS)

    zero_stage: Annotated[int, Field(ge=0, le=3)] = 2
    """ZeRO stage: 1 shares optimizer states, 2 gradients too, 3 parameters too; 0 shares nothing."""
    offload: Offload = Offload.NONE
    """What moves to host memory: none, optimizer (states; stages 1 to 3) or parameters (too; stage 3)."""


class CheckpointSpec(Schema):
    """When training state is saved and what is kept."""

    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Save after so many optimizer steps; a recipe fills it, 500 when nothing says otherwise."""
    every_minutes: Annotated[int, Field(ge=1, le=10_080)] | None = None
    """Save after so many minutes as well."""
    keep_last: Annotated[int, Field(ge=1, le=1000)] = 2
    """Keep this many newest checkpoints; the newest verified one is never deleted."""
