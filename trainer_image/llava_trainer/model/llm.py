"""How a causal language model of transformers is split into what LLaVA calls apart: embedding, decoder and head.

T = positions of a pack, S = sequences, D = width, L = labels, N = rows of logits, V = vocabulary.
"""
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from llava_trainer.formats.llm.folder import open_llm
from llava_trainer.model import attention
from llava_trainer.model.loss import cross_entropy
from llava_trainer.model.pretrained import Stored, load_pretrained, read_config

__all__ = ["Head", "Llm", "load_llm"]

_ROWS_AT_ONCE: Final = 2048
"""Rows of logits computed together: bounds the float32 copy of the logits to rows x vocabulary x 4 bytes."""


class Head(nn.Module):
    """The output layer, holding lm_head.weight itself: called once per pack, whatever the number of labels.

    Under ZeRO-3 every rank must run the same sequence of modules, so the chunks inside are no modules.
    """

    def __init__(self, linear: nn.Linear, *, softcap: float | None) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        self.softcap = softcap

    def forward(self, hidden_LD: torch.Tensor, labels_L: torch.Tensor | None = None) -> torch.Tensor:
        """The cross-entropy of each of L labels, float32 [L]; without labels the logits, [L, V]."""
        if labels_L is None:
            return self.logits(hidden_LD)
        chunks = zip(hidden_LD.split(_ROWS_AT_ONCE), labels_L.split(_ROWS_AT_ONCE), strict=True)
        return torch.cat([cross_entropy(self.logits(hidden), labels) for hidden, labels in chunks])

    def logits(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        """Score the whole vocabulary: [N, D] to [N, V], in the dtype of the weights."""
        logits_NV = functional.linear(hidden_ND, self.weight, self.bias)
        return logits_NV if self.softcap is None else torch.tanh(logits_NV / self.softcap) * self.softcap


class Llm(nn.Module):
    """A language model whose parameters keep the names of its folder: model.* and lm_head.*."""

    def __init__(self, causal: Any) -> None:
        super().__init__()
        self.config = causal.config
        self.model = causal.model
        self.lm_head = Head(causal.lm_head, softcap=getattr(causal.config, "final_logit_softcapping", None))

    @property
    def width(self) -> int:
        """Width of an embedding, D."""
        return int(self.config.hidden_size)

    def use_packed_attention(self) -> None:
        """Attend by cu_seqlens, for training."""
        self.model.set_attn_implementation(attention.register())

    def use_padded_attention(self) -> None:
        """Attend by padding mask and cache, for generation; sdpa leaves out the cap on Gemma-2's scores."""
        is_capped = getattr(self.config, "attn_logit_softcapping", None) is not None
        self.model.set_attn_implementation("eager" if is_capped else "sdpa")

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Attend as generation does inside, as training does afterwards."""
        self.use_padded_attention()
        try:
            yield
        finally:
            self.use_packed_attention()

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Look tokens up, scaled where the family scales (Gemma): [...] to [..., D]."""
        return self.model.embed_tokens(tokens)

    def decode(
        self, inputs_TD: torch.Tensor, *, positions_T: torch.Tensor, cu_seqlens_S1: torch.Tensor, max_seqlen: int
    ) -> torch.Tensor:
        """Run the decoder over one pack: [T, D] to [T, D]."""
        output = self.model(
            inputs_embeds=inputs_TD[None],
            position_ids=positions_T[None],
            use_cache=False,
            cu_seqlens=cu_seqlens_S1,
            max_seqlen=max_seqlen,
        )
        return output.last_hidden_state[0]


def load_llm(folder: Path, *, dtype: torch.dtype) -> Llm:
    """Read the folder of an LLM, whatever its layout.

    MissingInput, BadData, Unsupported or WeightsMismatch when it is none that we train.
    """
    opened = open_llm(folder)
    if opened.is_converted:
        config = read_config(folder, settings=opened.config)
        stored = Stored(folder, dict(opened.stream()))
        return Llm(load_pretrained(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], stored, config=config, dtype=dtype))
    return Llm(load_pretrained(AutoModelForCausalLM, folder, config=read_config(folder), dtype=dtype))
