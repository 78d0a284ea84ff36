"""What counts as the loss: cross-entropy at labelled positions only.

T = positions of a pack, D = width of the LLM, L = labels, V = vocabulary.
"""
# ruff: noqa: N803, N806

from __future__ import annotations

import torch
from torch.nn import functional

from llava_trainer.data.sample import IGNORE

__all__ = ["cross_entropy", "predicting"]


def predicting(hidden_TD: torch.Tensor, labels_T: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pick the hidden states that predict a label, each from the position before it, and the labels: [L, D] and [L]."""
    positions_L = torch.nonzero(labels_T[1:] != IGNORE).squeeze(1)
    return hidden_TD.index_select(0, positions_L), labels_T.index_select(0, positions_L + 1)


def cross_entropy(logits_LV: torch.Tensor, labels_L: torch.Tensor) -> torch.Tensor:
    """The loss of each label in float32, [L]; its sum has a gradient even where there is no label."""
    return functional.cross_entropy(logits_LV.float(), labels_L, reduction="none")
