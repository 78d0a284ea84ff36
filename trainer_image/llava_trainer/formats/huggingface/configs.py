"""The JSON files beside the weights: a config.json that releases 4 and 5 of transformers read alike, and the others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llava_contract.families import LLMS, TowerFamily, tower_family
from llava_trainer.errors import BadData, Unsupported
from llava_trainer.formats.huggingface.parts import Part, part_settings
from llava_trainer.formats.huggingface.vocabulary import IMAGE_TOKEN, Vocabulary
from llava_trainer.formats.llm.config import read_llm_config
from llava_trainer.formats.settings_file import read_json

__all__ = ["Configs", "read_configs"]

_OF_THE_SOURCE: Final = (
    "auto_map",
    "_name_or_path",
    "quantization_config",
    "transformers_version",
    "dtype",
    "torch_dtype",
)


@dataclass(frozen=True)
class Configs:
    """What the base folders say about themselves, as the running model's JSON holds it."""

    llm: dict[str, Any]
    vision: dict[str, Any]
    preprocessor: dict[str, Any]
    tower: TowerFamily

    @property
    def is_tied(self) -> bool:
        """Whether the LLM's head is its embedding, and so is not stored."""
        return bool(self.llm.get("tie_word_embeddings", LLMS[self.llm["model_type"]].is_tied))

    def write(self, folder: Path, *, vocabulary: Vocabulary, feature_layer: int, dtype: str) -> None:
        """Write config.json, generation_config.json, preprocessor_config.json and processor_config.json."""
        ids = self._ids(vocabulary)
        text = _cleaned(self.llm) | _rope(self.llm) | {"torch_dtype": dtype, "vocab_size": vocabulary.size} | ids
        vision = _cleaned(self.vision) | {"model_type": self.tower.vision_type, "torch_dtype": dtype}
        config = {
            "architectures": ["LlavaForConditionalGeneration"],
            "model_type": "llava",
            "image_token_index": vocabulary.image_id,
            "image_seq_length": self.num_patches,
            "ignore_index": -100,
            "multimodal_projector_bias": True,
            "projector_hidden_act": "gelu",
            "vision_feature_layer": feature_layer,
            "vision_feature_select_strategy": self.tower.rows_kept,
            "tie_word_embeddings": self.is_tied,
            "torch_dtype": dtype,
            **ids,
            "text_config": text | {"tie_word_embeddings": self.is_tied},
            "vision_config": vision,
        }
        processor = {
            "processor_class": "LlavaProcessor",
            "image_token": IMAGE_TOKEN,
            "patch_size": self._patch_size,
            "vision_feature_select_strategy": self.tower.rows_kept,
            "num_additional_image_tokens": int(self.tower.has_class_token),  # "default" takes it off again
        }
        kind = {"image_processor_type": self.tower.image_processor, "processor_class": "LlavaProcessor"}
        images = self.preprocessor | kind
        _write(folder / "config.json", config)
        _write(folder / "generation_config.json", {"do_sample": False, **ids})
        _write(folder / "preprocessor_config.json", images)
        _write(folder / "processor_config.json", processor)

    @property
    def num_patches(self) -> int:
        """Rows of an image in the LLM."""
        return int(self.vision.get("image_size", self.tower.image_size) // self._patch_size) ** 2

    @property
    def _patch_size(self) -> int:
        return int(self.vision.get("patch_size", self.tower.patch_size))

    def _ids(self, vocabulary: Vocabulary) -> dict[str, Any]:
        """Say what opens, ends and pads a text, as generation asks; never nothing, even where no prompt holds a BOS."""
        ends = self.llm.get("eos_token_id")
        known_ends = vocabulary.stop_ids or (ends if isinstance(ends, list) else [ends])
        stop_ids = [token for token in known_ends if token is not None]
        if not stop_ids:
            raise BadData("the LLM names no token that ends an answer; say eos_token in its tokenizer_config.json.")
        known = (vocabulary.bos_id, self.llm.get("bos_token_id"), *stop_ids)
        bos_id = next(token for token in known if token is not None)
        return {"bos_token_id": bos_id, "eos_token_id": stop_ids, "pad_token_id": vocabulary.pad_id}


def read_configs(llm_folder: Path, tower_folder: Path) -> Configs:
    """Read what two base folders say about themselves; MissingInput, BadData or Unsupported names what is wrong."""
    tower = part_settings(tower_folder, Part.TOWER)
    kind = str(tower.get("model_type"))
    family = tower_family(kind)
    if family is None:
        raise Unsupported(f"{tower_folder}: a vision tower of type {kind} has no place in this format; use another.")
    vision = tower.get("vision_config", tower)
    preprocessor = read_json(tower_folder / "preprocessor_config.json")
    return Configs(read_llm_config(llm_folder), vision, preprocessor, family)


def _cleaned(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _OF_THE_SOURCE}


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """Write rotary settings in both spellings: release 4 reads rope_theta and rope_scaling, release 5 rope_parameters.

    A reader that misses its spelling silently falls back to a base of 10,000.
    """
    parameters = config.get("rope_scaling") or config.get("rope_parameters") or {}
    theta = (config.get("rope_parameters") or {}).get("rope_theta", config.get("rope_theta"))
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    scaling = {key: value for key, value in parameters.items() if key != "rope_theta"} | {"rope_type": kind}
    if theta is None and kind == "default":
        return {}  # the family's own default, which every reader knows
    based = {} if theta is None else {"rope_theta": theta}
    partial = {key: scaling[key] for key in ("partial_rotary_factor",) if key in scaling}
    return {
        **based,
        **partial,
        "rope_parameters": scaling | based,
        "rope_scaling": None if kind == "default" else scaling,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
