"""How CLIP's vision tower gives one row per patch: the hidden state that LLaVA reads, without the class token.

Layers after the one that is read, and the pooled head, are kept for the export but never computed.

I = images, C = channels, H = W = side in pixels, P = patches, V = width of the tower.
"""
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.models.clip.modeling_clip import CLIPVisionModel

from llava_trainer.errors import Unsupported
from llava_trainer.model.preflight import TOWERS, layer_count
from llava_trainer.model.pretrained import load_pretrained, read_config

__all__ = ["TOWER_LINEARS", "VisionTower", "load_tower"]

TOWER_LINEARS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
"""The linear layers of a block, those that adapters go to."""

# What a whole CLIP holds beside its tower.
_NOT_VISION = (
    "text_model.",
    "text_projection.",
    "visual_projection.",
    "logit_scale",
    "vision_model.embeddings.position_ids",
)


class VisionTower(nn.Module):
    """CLIP up to the layer `feature_layer` of its hidden states (negative: from the end, -1 the last)."""

    def __init__(self, model: CLIPVisionModel, *, feature_layer: int) -> None:
        super().__init__()
        self.num_used_layers = layer_count(model.config.num_hidden_layers, feature_layer)
        self.model = model

    @property
    def width(self) -> int:
        """Features per patch, V."""
        return int(self.model.config.hidden_size)

    @property
    def num_patches(self) -> int:
        """Patches of an image, P."""
        return int(self.model.config.image_size // self.model.config.patch_size) ** 2

    def used_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that the features depend on."""
        yield from self.model.embeddings.parameters()
        yield from self.model.pre_layrnorm.parameters()
        for layer in self.used_layers():
            yield from layer.parameters()

    def used_layers(self) -> Any:
        """Blocks up to the feature layer."""
        return self.model.encoder.layers[: self.num_used_layers]

    def forward(self, pixels_ICHW: torch.Tensor) -> torch.Tensor:
        """Encode images: [I, C, H, W] to [I, P, V]."""
        pixels_ICHW = pixels_ICHW.to(self.model.embeddings.patch_embedding.weight.dtype)
        hidden = self.model.pre_layrnorm(self.model.embeddings(pixels_ICHW))
        for layer in self.used_layers():
            hidden = layer(hidden, None)
        return hidden[:, 1:]


def load_tower(folder: Path, *, feature_layer: int, dtype: torch.dtype) -> VisionTower:
    """Read a CLIP or CLIP vision folder; MissingInput, Unsupported or WeightsMismatch when it is no such thing."""
    config = read_config(folder)
    if config.model_type not in TOWERS:
        raise Unsupported(f"{folder}: a vision tower of type {config.model_type}; use a CLIP vision tower.")
    vision = config.vision_config if config.model_type == "clip" else config
    model = load_pretrained(CLIPVisionModel, folder, config=vision, dtype=dtype, not_ours=_NOT_VISION)
    return VisionTower(model, feature_layer=feature_layer)
