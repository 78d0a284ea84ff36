"""Layers that keep nothing but their input for the backward pass, and compute the rest again there."""

from __future__ import annotations

from typing import Any

__all__ = ["recompute_layers"]


def recompute_layers(model: Any) -> None:
    """Have the layers of a model of transformers forget their activations, in training mode only.

    Losses and gradients stay the same to the bit: dropout draws the same numbers again. Without autograd's reentrant
    kind, which would want an input with a gradient.
    """
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
