"""How InternLM's two generations, published with code of their own, become the Llama models that they compute like.

InternLM is a Llama with biases in its attention. InternLM2 has other names, and one layer for queries, keys and values:
the rows of each key-value head stand together, those of its queries first.

R = rows of the fused layer, D = what a row holds.
"""
# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from llava_trainer.errors import WeightsMismatch

if TYPE_CHECKING:
    import torch

__all__ = ["from_internlm", "from_internlm2", "to_llama"]

_OWN_SETTINGS: Final = ("auto_map", "bias", "rotary", "attn_implementation", "architectures")
_FUSED: Final = "wqkv"
_SPLIT: Final = ("q_proj", "k_proj", "v_proj")
_WORDS: Final = {
    "tok_embeddings": "embed_tokens",
    "output": "lm_head",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attention": "self_attn",
    "wo": "o_proj",
    "feed_forward": "mlp",
    "w1": "gate_proj",
    "w2": "down_proj",
    "w3": "up_proj",
}


def from_internlm(config: dict[str, Any]) -> dict[str, Any]:
    """Say an InternLM config as Llama's: `rotary` holds the base, and for kind dynamic how far it stretches."""
    rotary = config.get("rotary") or {}
    stretches = rotary.get("type") == "dynamic"
    scaling = {"type": "dynamic", "factor": float(rotary.get("scaling_factor", 1.0))} if stretches else None
    return _as_llama(config) | {"rope_theta": float(rotary.get("base", 10_000)), "rope_scaling": scaling}


def from_internlm2(config: dict[str, Any]) -> dict[str, Any]:
    """Say an InternLM2 config as Llama's; rope_theta and rope_scaling have the same names and meaning."""
    num_heads = config["num_attention_heads"]
    return _as_llama(config) | {"num_key_value_heads": config.get("num_key_value_heads") or num_heads}


def _as_llama(config: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key not in _OWN_SETTINGS}
    biased = bool(config.get("bias", True))
    return kept | {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "attention_bias": biased}


def to_llama(name: str, tensor: torch.Tensor, *, num_heads: int, num_groups: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Name one of InternLM2's tensors as Llama does, and take the fused layer apart: weight, bias or adapter alike.

    num_groups: key-value heads. WeightsMismatch when the rows of the fused layer are not those of so many heads.
    """
    words = [_WORDS.get(word, word) for word in name.split(".")]
    if _FUSED not in words:
        yield ".".join(words), tensor
        return
    place = words.index(_FUSED)
    parts = (tensor,) * 3 if "lora_A" in words else _take_apart(name, tensor, num_heads // num_groups, num_groups)
    for layer, part in zip(_SPLIT, parts, strict=True):
        yield ".".join([*words[:place], layer, *words[place + 1 :]]), part


def _take_apart(
    name: str, fused_RD: torch.Tensor, num_queries: int, num_groups: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    num_parts = num_queries + 2
    width, rest = divmod(len(fused_RD), num_groups * num_parts)
    if rest:
        raise WeightsMismatch(
            f"{name}: {len(fused_RD)} rows cannot be those of {num_groups} key-value heads with {num_queries} queries "
            "each; give the weights that belong to config.json."
        )
    heads = fused_RD.unflatten(0, (num_groups, num_parts, width))
    queries, keys, values = heads[:, :num_queries], heads[:, num_queries], heads[:, num_queries + 1]
    return queries.flatten(0, 2), keys.flatten(0, 1), values.flatten(0, 1)
