"""Which layers get a low-rank adapter, and how a trained one is added onto the weights it sat on.

Names are peft's: a layer X becomes X.base_layer with X.lora_A.default and X.lora_B.default beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from llava_contract.v1alpha1.training import LoraSettings
from llava_trainer.errors import WeightsMismatch

if TYPE_CHECKING:
    import torch

__all__ = ["add_adapters", "fold_trained"]

_FACTOR_A = ".lora_A.default.weight"
_FACTOR_B = ".lora_B.default.weight"


def add_adapters(module: Any, linears: list[str], *, settings: LoraSettings) -> None:
    """Put adapters of the module's dtype on the linear layers of these names and freeze everything else."""
    from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415  (seconds, only where there is an adapter)

    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=linears, bias="none"
    )  # type: ignore[arg-type,unused-ignore]
    inject_adapter_in_model(config, module)
    dtype = next(module.parameters()).dtype
    for name, parameter in module.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(dtype)


def fold_trained(
    base: Iterator[tuple[str, torch.Tensor]], trained: Mapping[str, torch.Tensor], *, scaling: Mapping[str, float]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Go through base weights key by key and give each as training left it.

    That is replaced, adapted (W + s B A in float32) or as it was.
    scaling: alpha / rank by the first word of a name. WeightsMismatch when a trained tensor finds no base weight.
    """
    unused = set(trained)
    for name, tensor in base:
        layer = name.removesuffix(".weight")
        factors = layer + _FACTOR_A, layer + _FACTOR_B
        result = trained.get(name, tensor)
        unused.discard(name)
        if unused.issuperset(factors):
            unused.difference_update(factors)
            factor_a, factor_b = (trained[key].float() for key in factors)
            _require_base(name, tensor.shape, (len(factor_b), factor_a.shape[1]))
            result = result.float() + scaling[name.split(".")[0]] * (factor_b @ factor_a)
        _require_base(name, tensor.shape, result.shape)
        yield name, result
    if unused:
        raise WeightsMismatch(
            f"{len(unused)} trained tensors have no place in the base weights, {min(unused)} first; "
            "give the models that were trained."
        )


def _require_base(name: str, base: tuple[int, ...], trained: tuple[int, ...]) -> None:
    if tuple(base) != tuple(trained):
        shapes = f"trained as {tuple(trained)}, but {tuple(base)} in the base weights"
        raise WeightsMismatch(f"{name}: {shapes}; give the models that were trained.")
