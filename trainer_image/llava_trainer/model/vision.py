"""How a vision tower gives one row per patch: the hidden state that LLaVA reads, without a class token.

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
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from llava_trainer.formats.huggingface.parts import Part, is_whole, open_part_weights, part_settings
from llava_trainer.model.preflight import layer_count, require_tower
from llava_trainer.model.pretrained import Stored, load_pretrained, read_config

__all__ = ["TOWER_LINEARS", "VisionTower", "load_tower"]

TOWER_LINEARS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
"""The linear layers of a block, those that adapters go to."""

# What a whole model holds beside its tower.
_NOT_VISION = (
    "text_model.",
    "text_projection.",
    "visual_projection.",
    "logit_scale",
    "logit_bias",
    "vision_model.embeddings.position_ids",
    "embeddings.position_ids",
)


class VisionTower(nn.Module):
    """A tower up to the layer `feature_layer` of its hidden states (negative: from the end, -1 the last).

    has_class_token: whether the first row stands for the whole image, and is left out.
    """

    def __init__(self, model: Any, *, feature_layer: int, has_class_token: bool) -> None:
        super().__init__()
        self.num_used_layers = layer_count(model.config.num_hidden_layers, feature_layer)
        self.num_extra_rows = int(has_class_token)
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
        if self._norm is not None:
            yield from self._norm.parameters()
        for layer in self.used_layers():
            yield from layer.parameters()

    def used_layers(self) -> Any:
        """Blocks up to the feature layer."""
        return self.model.encoder.layers[: self.num_used_layers]

    def forward(self, pixels_ICHW: torch.Tensor) -> torch.Tensor:
        """Encode images: [I, C, H, W] to [I, P, V]."""
        pixels_ICHW = pixels_ICHW.to(self.model.embeddings.patch_embedding.weight.dtype)
        hidden = self.model.embeddings(pixels_ICHW)
        if self._norm is not None:
            hidden = self._norm(hidden)
        for layer in self.used_layers():
            hidden = layer(hidden, None)
        return hidden[:, self.num_extra_rows :]

    @property
    def _norm(self) -> nn.Module | None:
        """The norm behind the embeddings, which SigLIP does without."""
        return getattr(self.model, "pre_layrnorm", None)


def load_tower(folder: Path, *, feature_layer: int, dtype: torch.dtype) -> VisionTower:
    """Read the folder of a tower, of a whole CLIP or SigLIP, or of a whole LLaVA model.

    MissingInput, BadData, Unsupported or WeightsMismatch when it is no such thing.
    """
    settings = part_settings(folder, Part.TOWER)
    family = require_tower(folder, str(settings.get("model_type")))
    in_whole = is_whole(folder)
    config = read_config(folder, settings=settings if in_whole else None)
    vision = config.vision_config if config.model_type == family.whole_type else config
    source = Stored(folder, dict(open_part_weights(folder, Part.TOWER).stream())) if in_whole else folder
    model = load_pretrained(MODEL_MAPPING[type(vision)], source, config=vision, dtype=dtype, not_ours=_NOT_VISION)
    return VisionTower(model, feature_layer=feature_layer, has_class_token=family.has_class_token)
