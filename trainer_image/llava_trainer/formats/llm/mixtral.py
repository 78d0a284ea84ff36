"""How the experts of a running Mixtral, fused into two tensors a layer, stand in its files: three tensors an expert.

E = experts, F = width inside an expert, D = width of the model.
"""
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["to_stored"]


def to_stored(name: str, tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Name one of a running model's tensors as its files do, and take fused experts apart; others stay as they are."""
    layer, _, part = name.partition(".mlp.")
    stored = f"{layer}.block_sparse_moe."
    match part:
        case "experts.gate_up_proj":
            for expert, gate_up_FD in enumerate(tensor):
                gate_FD, up_FD = gate_up_FD.chunk(2)
                yield f"{stored}experts.{expert}.w1.weight", gate_FD
                yield f"{stored}experts.{expert}.w3.weight", up_FD
        case "experts.down_proj":
            for expert, down_DF in enumerate(tensor):
                yield f"{stored}experts.{expert}.w2.weight", down_DF
        case "gate.weight":
            yield f"{stored}gate.weight", tensor
        case _:
            yield name, tensor
