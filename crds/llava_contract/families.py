"""Which language models and vision towers can be trained, by the model_type of their config.json: the only such list.

A family that transformers knows is added by a row here; one whose folder is laid out otherwise also says in `runs_as`
what it becomes when it is read, and formats/llm of the trainer says how.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["LLMS", "TOWERS", "LlmFamily", "TowerFamily", "page", "tower_family"]


@dataclass(frozen=True, slots=True)
class LlmFamily:
    """One model_type of language models. `runs_as`: the model_type that it is trained and exported as.

    is_tied: whether head and embedding are one where config.json does not say; fuses_experts: its experts are no linear
    layers, so adapters reach the attention only, and 4 bits would miss most of it.
    """

    model_type: str
    models: str
    runs_as: str
    is_tied: bool = False
    fuses_experts: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class TowerFamily:
    """One kind of vision tower: alone (`vision_type`) or in a whole model (`whole_type`).

    image_size, patch_size: pixels, where config.json does not say. image_processor: its class in transformers.
    """

    whole_type: str
    vision_type: str
    models: str
    has_class_token: bool
    image_size: int
    patch_size: int
    image_processor: str
    note: str = ""

    @property
    def rows_kept(self) -> str:
        """Which rows of the tower the projector reads, in the words of LlavaConfig."""
        return "default" if self.has_class_token else "full"


def _llm(model_type: str, models: str, *, runs_as: str | None = None, note: str = "") -> LlmFamily:
    return LlmFamily(model_type, models, runs_as or model_type, note=note)


_SCALED: Final = "image features enter as the projector gives them; releases 4 of transformers scaled them"
_FUSED: Final = "adapters sit on the fused qkv and gate_up layers"

_LLMS: Final = (
    _llm("llama", "Llama 2 and 3, Vicuna, and what is built like them"),
    _llm("internlm2", "InternLM2", runs_as="llama", note="its fused, grouped attention is taken apart"),
    _llm("internlm", "InternLM", runs_as="llama", note="its attention has biases"),
    _llm("mistral", "Mistral"),
    LlmFamily(
        "mixtral",
        "Mixtral",
        "mixtral",
        fuses_experts=True,
        note="its experts are no linear layers: LoRA adapts the attention, QLoRA is refused",
    ),
    _llm("qwen2", "Qwen2, Qwen2.5"),
    _llm("qwen3", "Qwen3"),
    _llm("phi3", "Phi-3", note=_FUSED),
    LlmFamily("gemma", "Gemma", "gemma", is_tied=True, note=_SCALED),
    LlmFamily("gemma2", "Gemma 2", "gemma2", is_tied=True, note=_SCALED),
)
LLMS: Final = {family.model_type: family for family in _LLMS}

TOWERS: Final = (
    TowerFamily(
        "clip", "clip_vision_model", "CLIP", has_class_token=True, image_size=224, patch_size=32,
        image_processor="CLIPImageProcessor", note="its class token is left out",
    ),
    TowerFamily(
        "siglip", "siglip_vision_model", "SigLIP", has_class_token=False, image_size=224, patch_size=16,
        image_processor="SiglipImageProcessor", note="it has no class token; all patches are kept",
    ),
)  # fmt: skip


def tower_family(model_type: str) -> TowerFamily | None:
    """Find the family of a tower, alone or in a whole model."""
    return next((family for family in TOWERS if model_type in (family.whole_type, family.vision_type)), None)


_INTRODUCTION: Final = (
    "# Models\n\nWhich language models and vision towers a job can be made of, by `model_type` in the folder's "
    "config.json; no code of a folder is ever run. A tokenizer is read from tokenizer.json, or built from "
    "tokenizer.model where that is all there is.\n"
)


def page() -> str:
    """The reference page."""
    return f"{_INTRODUCTION}\n## Language models\n\n{_llm_table()}\n## Vision towers\n\n{_tower_table()}"


def _llm_table() -> str:
    lines = ["| models | `model_type` | trained and exported as | to know |\n", "| --- | --- | --- | --- |\n"]
    lines += [f"| {family.models} | `{family.model_type}` | `{family.runs_as}` | {family.note} |\n" for family in _LLMS]
    return "".join(lines)


def _tower_table() -> str:
    lines = ["| models | `model_type` | to know |\n", "| --- | --- | --- |\n"]
    lines += [
        f"| {family.models} | `{family.whole_type}`, `{family.vision_type}` | {family.note} |\n" for family in TOWERS
    ]
    return "".join(lines)
