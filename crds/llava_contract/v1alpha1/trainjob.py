"""LlavaTrainJob: one YAML file that becomes a trained, converted and scored model."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from llava_contract import edits, model_rules, rules
from llava_contract.schema import Schema, Uri
from llava_contract.v1alpha1.conversion import ConvertSpec
from llava_contract.v1alpha1.data import PrepareSpec
from llava_contract.v1alpha1.evaluation import EvaluateSpec
from llava_contract.v1alpha1.model import ExportedModel, ModelSpec
from llava_contract.v1alpha1.policy import RunPolicy
from llava_contract.v1alpha1.status import JobStatus
from llava_contract.v1alpha1.storage import StorageSpec
from llava_contract.v1alpha1.tracking import TrackingSpec
from llava_contract.v1alpha1.training import CheckpointSpec, DeepspeedSpec, TrainStageSpec
from llava_contract.v1alpha1.workers import WorkersSpec

__all__ = ["LlavaTrainJob", "LlavaTrainJobSpec"]


class LlavaTrainJobSpec(Schema):
    """prepare -> pretrain -> finetune -> convert -> evaluate; a stage that is left out is skipped."""

    RULES: ClassVar = (
        rules.SOMETHING_TO_TRAIN,
        rules.DATA_ROOT_NEEDS_RECIPE,
        model_rules.MODEL_WITHOUT_RECIPE,
        rules.PRETRAIN_WITHOUT_RECIPE,
        rules.FINETUNE_WITHOUT_RECIPE,
        rules.PRETRAIN_LORA_SETTINGS,
        rules.FINETUNE_LORA_SETTINGS,
        rules.PRETRAIN_STARTS_FRESH,
        model_rules.FINETUNE_NEEDS_PROJECTOR,
        model_rules.ONE_PROJECTOR,
        rules.EVALUATE_NEEDS_CONVERT,
        model_rules.CONVERT_NEEDS_DEPTH_2,
        rules.FP16_NEEDS_GPUS,
    )
    GIVEN_IN: ClassVar = "model.from"

    recipe: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """Name of a recipe (`llava recipe list`); it fills everything that is not written here. A published recipe brings
    its one training stage; a job recipe brings pretrain, finetune and convert."""
    data_root: Uri | None = None
    """Folder under which the recipe's data sets lie by their published names (llava_data/, sharegpt4v/, internvl_sft/);
    not needed where a stage writes its own data."""
    model: ModelSpec = ModelSpec()
    """The LLM, the vision tower and how they are joined; or a whole model to go on from."""
    storage: StorageSpec
    """Where the job keeps everything it makes."""
    prepare: PrepareSpec = PrepareSpec()
    """The data audit before training."""
    pretrain: TrainStageSpec | None = None
    """Stage 1: the projector learns on captions."""
    finetune: TrainStageSpec | None = None
    """Stage 2: projector and LLM learn on instructions."""
    convert: ConvertSpec | None = None
    """Export of the trained model; write convert: {} for the defaults."""
    evaluate: EvaluateSpec | None = None
    """Scores of the exported model on benchmark files."""
    deepspeed: DeepspeedSpec = DeepspeedSpec()
    """How DeepSpeed shares the work among ranks."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """When training state is saved and what is kept."""
    workers: WorkersSpec = WorkersSpec()
    """How many processes train and on what."""
    tracking: TrackingSpec = TrackingSpec()
    """Who else is told of loss and speed."""
    run_policy: RunPolicy = RunPolicy()
    """Suspension, restarts and time limits."""

    @property
    def given_model(self) -> ExportedModel | None:
        """The model that another job made, if training starts from one."""
        return self.model.from_model

    def given(self, model: ExportedModel) -> Self:
        """Say the same of another model."""
        return self.model_copy(update={"model": self.model.model_copy(update={"from_model": model})})


class LlavaTrainJob(Schema):
    """Trains, converts and scores one LLaVA model: prepare -> pretrain -> finetune -> convert -> evaluate."""

    RULES: ClassVar = (
        rules.JOB_NAME,
        model_rules.FROM_ANOTHER_JOB,
        edits.STORAGE_STAYS,
        edits.MODEL_STAYS,
        edits.RECIPE_STAYS,
    )

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

    @property
    def name(self) -> str:
        """metadata.name; empty where it is missing."""
        return str(self.metadata.get("name", ""))
