"""Which parts a LLaVA model is assembled from, and how a whole model is named that another job made."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from llava_contract import model_rules
from llava_contract.schema import Name, Schema, Uri
from llava_contract.templates import TemplateName

__all__ = ["ExportedModel", "ModelSpec", "WeightsSource"]


class WeightsSource(Schema):
    """Pretrained weights in a Hugging Face style folder."""

    uri: Uri
    """Folder with config.json and safetensors: hf://org/name, s3://, pvc://, file:// or a path."""


class ExportedModel(Schema):
    """A whole LLaVA model that exists already or is being made: exactly one of trainJobName and uri."""

    RULES: ClassVar = (model_rules.ONE_MODEL, model_rules.MODEL_S3_SETTINGS)

    train_job_name: Name | None = None
    """A LlavaTrainJob in the same namespace whose exported model is taken, as soon as there is one."""
    uri: Uri | None = None
    """A folder that holds an exported model."""
    endpoint: Annotated[str, Field(min_length=8, max_length=512, pattern=r"^https?://\S+$")] | None = None
    """URL of the S3-compatible server that the uri lies on. Where none of endpoint, region, pathStyle and
    credentialsSecretName is written, the model is read with the settings of storage."""
    region: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Region of the model's bucket."""
    path_style: bool = False
    """Put the bucket into the path instead of the host name."""
    credentials_secret_name: Name | None = None
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for reading the model; those of storage write."""

    @property
    def names_server(self) -> bool:
        """Whether it says itself how its uri is reached."""
        return (self.endpoint, self.region, self.credentials_secret_name) != (None, None, None) or self.path_style


class ModelSpec(Schema):
    """The LLM, the vision tower and how they are joined; or a whole model to go on from."""

    RULES: ClassVar = (model_rules.FROM_BRINGS_PARTS,)

    from_model: Annotated[ExportedModel | None, Field(alias="from")] = None
    """A LLaVA model whose LLM, vision tower and projector are trained further: one that a job exported, or any folder
    of Hugging Face's LlavaForConditionalGeneration. llm and visionTower are then left out, and of a recipe of several
    stages only those after pretrain are filled in."""
    llm: WeightsSource | None = None
    """The language model with its tokenizer; a recipe fills it."""
    vision_tower: WeightsSource | None = None
    """The vision tower with its image processor; a recipe fills it."""
    prompt_template: TemplateName | None = None
    """Name of the chat template the LLM was trained with, such as vicuna or internlm2_chat; a recipe fills it. With
    from, it must be the one that the model was trained with."""
    projector_depth: Annotated[int, Field(ge=1, le=8)] | None = None
    """Number of linear layers in the projector; 2 when nothing says otherwise."""
    vision_feature_layer: Annotated[int, Field(ge=-64, le=-1)] | None = None
    """Hidden layer of the vision tower that the projector reads, from the end; -2 when nothing says otherwise."""
