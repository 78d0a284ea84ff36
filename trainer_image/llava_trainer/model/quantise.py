"""How base weights take the values that 4-bit NF4 can hold, for mode qlora.

Each weight is quantised as QLoRA does (blocks of 64, double quantisation) and dequantised once: to the bit the values
that a 4-bit layer computes with in every step, without its cost, in the memory of unquantised weights.
"""

from __future__ import annotations

from torch import nn

__all__ = ["round_to_nf4"]


def round_to_nf4(linears: list[nn.Linear]) -> None:
    """Replace the weights of linear layers by their NF4 values, in place and in their own dtype."""
    from bitsandbytes import functional  # noqa: PLC0415  (8 s, for this mode only)

    for linear in linears:
        weight = linear.weight.data
        packed, state = functional.quantize_4bit(weight, blocksize=64, compress_statistics=True, quant_type="nf4")
        linear.weight.data = functional.dequantize_4bit(packed, state).to(weight.dtype)
