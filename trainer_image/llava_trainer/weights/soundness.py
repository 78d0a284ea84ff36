"""What is said of weights that cannot be used: values that are no numbers, and names of which there are many."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from llava_trainer.errors import BadData

__all__ = ["name_some", "require_numbers"]


def require_numbers(source: object, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Refuse weights with NaN or infinity, which a whole training would only carry on: BadData names the first.

    Neither vanishes in a sum, which takes a fortieth of the time of a look at every value; sums of float16 may be too
    large for it, so what looks odd is looked at.
    """
    for name, tensor in tensors:
        weight = tensor.detach()
        if not torch.isfinite(weight.sum()) and not torch.isfinite(weight).all():
            raise BadData(f"{source}: {name} holds NaN or infinity; give weights that were saved whole.")


def name_some(keys: list[str], limit: int = 3) -> str:
    """Write down the first few of many names."""
    return ", ".join(keys[:limit]) + (", ..." if len(keys) > limit else "")
