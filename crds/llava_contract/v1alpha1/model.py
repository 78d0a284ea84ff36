"""Which parts a LLaVA model is assembled from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llava_contract.schema import Schema, Uri
from llava_contract.templates import TemplateName

__all__ = ["ModelSpec", "WeightsSource"]


class WeightsSource(Schema):
    """Pretrained weights in a Hugging Face style folder."""

    uri: Uri
    """Folder with config.json and safetensors: hf://org/name, s3://, pvc://, file:// or a path."""


class ModelSpec(Schema):
    """The LLM, the vision tower and how they are joined."""

    llm: WeightsSource | None = None
    """The language model with its tokenizer; a recipe fills it."""
    vision_tower: WeightsSource | None = None
    """The vision tower with its image processor; a recipe fills it."""
    prompt_template: TemplateName | None = None
    """Name of the chat template the LLM was trained with, such as vicuna or internlm2_chat; a recipe fills it."""
    projector_depth: Annotated[int, Field(ge=1, le=8)] | None = None
    """Number of linear layers in the projector; 2 when nothing says otherwise."""
    vision_feature_layer: Annotated[int, Field(ge=-64, le=-1)] | None = None
    """Hidden layer of the vision tower that the projector reads, from the end; -2 when nothing says otherwise."""
