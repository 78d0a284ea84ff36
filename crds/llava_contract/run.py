"""RunConfig: the one file that tells an attempt what to do; every value is decided, nothing is left to a default.

The operator writes it, locally as a file and on a cluster as a ConfigMap; the trainer reads it and refuses fields
that it does not know.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from llava_contract.result import CheckpointRef
from llava_contract.schema import Schema, Uri
from llava_contract.v1alpha1.conversion import ExportDtype, ExportFormat
from llava_contract.v1alpha1.data import DataSource, OnBadRow
from llava_contract.v1alpha1.evaluation import BenchmarkSource
from llava_contract.v1alpha1.tracking import TrackingSpec
from llava_contract.v1alpha1.training import DeepspeedSpec, Order, Precision, Schedule, TuningSpec
from llava_contract.v1alpha1.watching import SamplesSpec, ValidationSpec

__all__ = [
    "CACHE_DIR_ENV",
    "MODEL_ENV_PREFIX",
    "ConvertTask",
    "EvaluateTask",
    "JobKind",
    "JobRef",
    "ModelParts",
    "ModelStorage",
    "PrepareTask",
    "PreparedSetConfig",
    "RunConfig",
    "Stage",
    "StorageTarget",
    "TrainTask",
]  # fmt: skip

CACHE_DIR_ENV = "LLAVA_CACHE_DIR"
"""Names the folder where copies of weights, data and checkpoints from s3:// lie; it may outlive attempts."""


MODEL_ENV_PREFIX = "LLAVA_MODEL_"
"""Precedes AWS_ACCESS_KEY_ID and its like where a model is read with other credentials than the job's storage."""


class Stage(StrEnum):
    """The stages of a job in their order."""

    PREPARE = "prepare"
    PRETRAIN = "pretrain"
    FINETUNE = "finetune"
    CONVERT = "convert"
    EVALUATE = "evaluate"


class JobKind(StrEnum):
    """The kinds of jobs that users write, by the name that manifests and owner references bear."""

    TRAIN = "LlavaTrainJob"
    EVAL = "LlavaEvalJob"

    @property
    def plural(self) -> str:
        """The name that URLs of the API server bear."""
        return f"{self.lower()}s"


class JobRef(Schema):
    """Whose attempt this is."""

    kind: JobKind
    namespace: str
    name: str
    uid: str


class StorageTarget(Schema):
    """The job's storage prefix; credentials come from the environment."""

    uri: Uri
    endpoint: str | None = None
    region: str | None = None
    path_style: bool = False


class ModelStorage(StorageTarget):
    """Where a model lies that another job made."""

    env_prefix: str
    """What precedes the names of the environment variables with its credentials; empty: those of the job's storage."""


class ModelParts(Schema):
    """What the model is assembled from."""

    llm: Uri
    vision_tower: Uri
    prompt_template: str
    projector_depth: int
    vision_feature_layer: int
    storage: ModelStorage | None = None
    """How a whole model is reached; None: as the job's storage is."""

    @property
    def is_whole(self) -> bool:
        """Whether one folder holds all parts: a LLaVA model that is trained further."""
        return self.llm == self.vision_tower


class PreparedSetConfig(Schema):
    """One data set to prepare, for the training stage of that name."""

    stage: Stage
    data: list[DataSource]
    max_length: int
    pad_to_square: bool
    global_batch: int
    """Samples per optimizer step over all ranks; the set must hold as many."""
    held_out: float
    """Share of the rows that goes into a set of its own, for validation."""
    sample_images: list[Uri]
    """Pictures that sample answers are about."""


class PrepareTask(Schema):
    """Audit the rows and write image and token shards."""

    kind: Literal["prepare"] = "prepare"
    model: ModelParts
    sets: list[PreparedSetConfig]
    on_bad_row: OnBadRow
    max_bad_fraction: float
    pretrained_projector: Uri | None = None
    """Where the projector lies that the first training stage starts from; None: it starts at random."""
    benchmarks: list[BenchmarkSource]
    """What the job will be scored on; read here, so that a broken file is found before the training."""


class TrainTask(Schema):
    """Train one stage on prepared data."""

    kind: Literal["train"] = "train"
    model: ModelParts
    prepared: Uri
    """The prepared set of this stage (an artifact of prepare)."""
    pretrained_projector: Uri | None
    """Where the projector lies that this stage starts from; None: it starts at random."""
    llm: TuningSpec
    vision_tower: TuningSpec
    epochs: int | None
    max_steps: int | None
    batch_size: int
    accumulation: int
    max_length: int
    learning_rate: float
    schedule: Schedule
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    precision: Precision
    order: Order
    gradient_checkpointing: bool
    seed: int
    deterministic: bool
    stop_on_loss_spike: bool
    validation: ValidationSpec | None
    samples: SamplesSpec | None
    deepspeed: DeepspeedSpec
    save_every_steps: int
    save_every_minutes: int | None
    keep_last: int
    tracking: TrackingSpec


class ConvertTask(Schema):
    """Export base weights plus trained state."""

    kind: Literal["convert"] = "convert"
    model: ModelParts
    checkpoints: list[Uri]
    """Checkpoints to apply, oldest first (pretrain, finetune)."""
    llm: TuningSpec
    vision_tower: TuningSpec
    formats: list[ExportFormat]
    dtype: ExportDtype
    pad_to_square: bool
    """How the last training stage prepared images; answering prepares them alike."""


class EvaluateTask(Schema):
    """Answer benchmark files with an exported model."""

    kind: Literal["evaluate"] = "evaluate"
    model_uri: Uri
    model_storage: ModelStorage | None = None
    """None: the model is reached as the job's storage is."""
    prompt_template: str | None
    """None: the template that the export's own metadata names."""
    benchmarks: list[BenchmarkSource]
    batch_size: int
    max_new_tokens: int
    minimum_accuracy: float | None


class RunConfig(Schema):
    """Everything that one attempt at one stage needs to know."""

    version: Literal["v1alpha1"] = "v1alpha1"
    job: JobRef
    stage: Stage
    attempt: Annotated[int, Field(ge=1)]
    num_ranks: Annotated[int, Field(ge=1)]
    storage: StorageTarget
    hang_timeout_seconds: int
    last_commit: CheckpointRef | None = None
    """The newest commit of this stage that the operator knows of; resuming from nothing is then an error."""
    resume_before_step: int | None = None
    """After a NaN loss: resume only from a checkpoint of an earlier step, or from nothing. None: from the newest."""
    task: Annotated[PrepareTask | TrainTask | ConvertTask | EvaluateTask, Field(discriminator="kind")]
