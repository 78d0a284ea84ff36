"""How features of the vision tower become embeddings of the LLM: linear layers with GELU between them.

I = images, P = patches of an image, V = width of the tower, D = width of the LLM.
"""
# ruff: noqa: N803

from __future__ import annotations

import torch
from torch import nn

from llava_trainer.errors import WeightsMismatch
from llava_trainer.formats.projector import StoredProjector
from llava_trainer.weights.soundness import name_some

__all__ = ["Projector", "require_fit"]


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


def require_fit(stored: StoredProjector, projector: Projector, *, source: str) -> None:
    """Refuse tensors that are not exactly those of a projector: WeightsMismatch names keys as `source` does."""
    wanted = {f"projector.{name}": parameter for name, parameter in projector.named_parameters()}
    wrong = [f"{name} is missing" for name in wanted if name not in stored.tensors]
    wrong += [f"{stored.called[name]} is one too many" for name in stored.tensors if name not in wanted]
    wrong += [
        f"{stored.called[name]} is {tuple(tensor.shape)}, not {tuple(wanted[name].shape)}"
        for name, tensor in stored.tensors.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]
    if wrong:
        raise WeightsMismatch(
            f"{source}: {len(wrong)} keys do not fit the projector of this model ({name_some(wrong)}); give the "
            "projector of this vision tower and this LLM."
        )
