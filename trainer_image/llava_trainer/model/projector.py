"""How features of the vision tower become embeddings of the LLM: linear layers with GELU between them.

I = images, P = patches of an image, V = width of the tower, D = width of the LLM.
"""
# ruff: noqa: N803

from __future__ import annotations

import torch
from torch import nn

__all__ = ["Projector"]


class Projector(nn.Module):
    """`depth` linear layers, the first from V to D; its parameters are named as in XTuner, model.0, model.2, ..."""

    def __init__(self, tower_width: int, llm_width: int, *, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(tower_width, llm_width)]
        for _ in range(depth - 1):
            layers += [nn.GELU(), nn.Linear(llm_width, llm_width)]
        self.model = nn.Sequential(*layers)

    def forward(self, features_IPV: torch.Tensor) -> torch.Tensor:
        """Project every patch: [I, P, V] to [I, P, D]."""
        return self.model(features_IPV)
