"""What one tensor is called in a base folder, in our model, and in an exported folder.

The export's names are written out here: a model saved by transformers 5 drops `vision_model.` from them, and readers of
the 4 series then run a random tower with no more than a warning.
"""

from __future__ import annotations

from typing import Final

from llava_trainer.errors import WeightsMismatch

__all__ = ["COMPUTED", "EMBEDDING", "HEAD", "from_llm", "from_tower", "to_export"]

EMBEDDING: Final = "llm.model.embed_tokens.weight"
HEAD: Final = "llm.lm_head.weight"

_EXPORTED: Final = {
    "llm.": "language_model.",
    "vision_tower.model.": "vision_tower.vision_model.",
    "projector.model.0.": "multi_modal_projector.linear_1.",
    "projector.model.2.": "multi_modal_projector.linear_2.",
}
_TOWER_PARTS: Final = ("embeddings.", "pre_layrnorm.", "encoder.", "post_layernorm.", "head.")
COMPUTED: Final = ("rotary_emb.inv_freq", "embeddings.position_ids", "masked_bias")
"""Ends of the names of buffers that old releases saved."""

_BESIDE_TOWER: Final = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")


def from_llm(name: str) -> str | None:
    """Name a tensor of an LLM's folder as our model does; None for what is no weight, WeightsMismatch if unknown."""
    if name.endswith(COMPUTED):
        return None
    if name.startswith(("model.", "lm_head.")):
        return f"llm.{name}"
    raise WeightsMismatch(f"{name}: no tensor of a causal language model; give an LLM's folder.")


def from_tower(name: str) -> str | None:
    """Name a tensor of a tower's folder, with or without `vision_model.`, as our model does; None if not of a tower."""
    if name.endswith(COMPUTED) or name.startswith(_BESIDE_TOWER):
        return None
    part = name.removeprefix("vision_model.")
    if part.startswith(_TOWER_PARTS):
        return f"vision_tower.model.{part}"
    raise WeightsMismatch(f"{name}: no tensor of a CLIP or SigLIP tower; give the folder of one.")


def to_export(name: str) -> str:
    """Name one of our model's tensors as it stands in the exported file."""
    for prefix, replacement in _EXPORTED.items():
        if name.startswith(prefix):
            return replacement + name.removeprefix(prefix)
    raise WeightsMismatch(f"{name}: LlavaForConditionalGeneration has no such tensor; give a LLaVA model's weights.")
