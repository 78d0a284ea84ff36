"""LLaVA: image patches, seen by a vision tower and projected, stand among the words that an LLM reads.

T = positions of a pack, S = sequences, I = images (at least one), C = channels, H = W = side in pixels,
P = patches of an image, D = width of the LLM, N = positions that hold image rows, L = labels.

What is unusual here:
- a pack holds many sequences behind one another, with positions that restart; nothing is padded;
- logits exist only where there are labels; each has its own loss, for the caller to sum up by source and to divide by
  the global number of labels;
- tower, projector, decoder and head are each called exactly once, even for a pack without images or labels, and then
  give zero gradients instead of none: ranks stay in step whatever their packs hold.
"""
# ruff: noqa: N803, N806

from __future__ import annotations

import torch
from torch import nn

from llava_trainer.data.batch import Batch
from llava_trainer.model.llm import Llm
from llava_trainer.model.loss import predicting
from llava_trainer.model.projector import Projector
from llava_trainer.model.vision import VisionTower

__all__ = ["Llava"]


class Llava(nn.Module):
    """Vision tower, projector and LLM; parameter names begin with vision_tower, projector or llm."""

    def __init__(self, *, vision_tower: VisionTower, projector: Projector, llm: Llm) -> None:
        super().__init__()
        self.vision_tower = vision_tower
        self.projector = projector
        self.llm = llm

    def forward(self, batch: Batch) -> torch.Tensor:
        """The cross-entropy of each label of a pack, float32 [L]: their sum has a gradient even where L is 0."""
        text_TD = self.llm.embed(batch.tokens_T)
        image_IPD = self.encode_images(batch.pixels_ICHW)
        inputs_TD = place_images(text_TD, image_IPD, batch.image_slots_N)
        hidden_TD = self.llm.decode(
            inputs_TD, positions_T=batch.positions_T, cu_seqlens_S1=batch.cu_seqlens_S1, max_seqlen=batch.max_seqlen
        )
        hidden_LD, labels_L = predicting(hidden_TD, batch.labels_T)
        loss_L: torch.Tensor = self.llm.lm_head(hidden_LD, labels_L)
        return loss_L

    def encode_images(self, pixels_ICHW: torch.Tensor) -> torch.Tensor:
        """Turn images into rows that the LLM reads: [I, C, H, W] to [I, P, D]."""
        image_IPD: torch.Tensor = self.projector(self.vision_tower(pixels_ICHW))
        return image_IPD

    @property
    def patches_per_image(self) -> int:
        """Rows of one image, P."""
        return self.vision_tower.num_patches

    def trainable(self) -> dict[str, nn.Parameter]:
        """Parameters that training changes, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}


def place_images(text_TD: torch.Tensor, image_IPD: torch.Tensor, image_slots_N: torch.Tensor) -> torch.Tensor:
    """Put the first N image rows at the positions image_slots_N; a blank image has no slot and is left over."""
    rows_ND = image_IPD.flatten(0, 1)[: len(image_slots_N)]
    assert len(rows_ND) == len(image_slots_N), (image_IPD.shape, image_slots_N.shape)
    return text_TD.index_copy(0, image_slots_N, rows_ND.to(text_TD.dtype))
