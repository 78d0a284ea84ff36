"""How attention stays inside each sequence of a pack: cu_seqlens says where they begin, nothing is padded or masked.

It replaces transformers' own attention during training only: under a name that its mask functions do not know, every
padding mask would silently vanish, so generation goes back to "sdpa".

T = positions of the pack, S = sequences, H = query heads, G = key and value heads, K = width of a head.
"""
# ruff: noqa: N803, N806

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import torch
from torch.nn import functional
from transformers import AttentionInterface

__all__ = ["PACKED", "register"]

PACKED: Final = "llava_packed"


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a family asks of its attention; window counts positions, a position's own included."""

    scale: float
    dropout: float
    window: int | None
    softcap: float | None


def register() -> str:
    """Make packed attention known to transformers and return its name."""
    # cuDNN builds a plan for every new length, 0.1 s each; lengths hardly ever repeat in a pack.
    torch.backends.cuda.enable_cudnn_sdp(False)
    AttentionInterface.register(PACKED, packed_attention)
    return PACKED


def packed_attention(
    module: Any,
    query_1HTK: torch.Tensor,
    key_1GTK: torch.Tensor,
    value_1GTK: torch.Tensor,
    _mask: object,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend causally within each sequence and return [1, T, H, K]; `options` must hold cu_seqlens (int32, [S + 1])."""
    cu_seqlens_S1 = options.get("cu_seqlens")
    if cu_seqlens_S1 is None:
        raise ValueError("packed attention was called without cu_seqlens; use sdpa outside of training")
    rules = _Rules(
        scale=options.get("scaling") or module.head_dim**-0.5,
        dropout=options.get("dropout", 0.0) if module.training else 0.0,
        window=options.get("sliding_window"),
        softcap=options.get("softcap"),
    )
    bounds = cu_seqlens_S1.tolist()
    pieces = [
        _attend(query_1HTK[:, :, start:end], key_1GTK[:, :, start:end], value_1GTK[:, :, start:end], rules)
        for start, end in pairwise(bounds)
    ]
    return torch.cat(pieces, dim=2).transpose(1, 2), None


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rules: _Rules) -> torch.Tensor:
    """One sequence, [1, H, t, K]."""
    if rules.softcap is not None:
        return _attend_softcapped(query, key, value, rules)
    length = query.shape[2]
    is_windowed = rules.window is not None and rules.window < length
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=_visible(length, rules.window, query.device) if is_windowed else None,
        dropout_p=rules.dropout,
        is_causal=not is_windowed,
        scale=rules.scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _attend_softcapped(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rules: _Rules) -> torch.Tensor:
    """Gemma-2 bends its scores with tanh before the softmax, which sdpa cannot do."""
    assert rules.softcap is not None
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
    scores = torch.tanh(query @ key.transpose(2, 3) * rules.scale / rules.softcap) * rules.softcap
    hidden = ~_visible(query.shape[2], rules.window, query.device)
    weights = torch.softmax(scores.masked_fill(hidden, float("-inf")), dim=-1, dtype=torch.float32).to(query.dtype)
    return functional.dropout(weights, p=rules.dropout) @ value


def _visible(length: int, window: int | None, device: torch.device) -> torch.Tensor:
    """True where row may look at column: not ahead, and less than `window` positions back."""
    ones = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return ones if window is None else ones.triu(1 - window)
