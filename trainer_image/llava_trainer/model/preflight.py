"""What the folders of a model's parts tell before torch is loaded: family, layers, sizes, and whether files are whole.

A wrong folder is refused while it costs nothing; building the model checks again, tensor by tensor.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llava_contract.families import TOWERS, TowerFamily, tower_family
from llava_contract.run import ModelParts
from llava_trainer.errors import BadData, InvalidSpec, MissingInput, Unsupported, WrongTemplate
from llava_trainer.formats.huggingface.metadata import has_metadata, read_metadata
from llava_trainer.formats.huggingface.parts import Part, is_whole, part_settings
from llava_trainer.formats.llm.config import read_llm_config
from llava_trainer.formats.settings_file import read_json

__all__ = [
    "Widths",
    "check_llm",
    "check_tower",
    "check_whole",
    "feature_layer_of",
    "layer_count",
    "require_tower",
    "widths_of",
]

_MAX_HEADER_BYTES: Final = 100_000_000  # safetensors itself refuses longer ones


def check_llm(folder: Path, *, num_pieces: int) -> None:
    """Refuse an LLM that cannot be trained: Unsupported, MissingInput or BadData; `num_pieces`: its tokenizer's."""
    config = read_llm_config(folder)
    vocabulary = config.get("vocab_size", num_pieces)
    if num_pieces > vocabulary:
        raise BadData(
            f"{folder}: the tokenizer has {num_pieces:,} pieces, the model {vocabulary:,} embeddings; "
            "give the tokenizer that belongs to the model."
        )
    _check_files(folder)


def check_tower(folder: Path, *, feature_layer: int, image_size: int) -> None:
    """Refuse a vision tower that does not fit; `image_size`: pixels that its own preprocessor makes.

    Raises Unsupported, InvalidSpec, MissingInput or BadData.
    """
    family, vision = _vision(folder)
    layer_count(vision.get("num_hidden_layers", 12), feature_layer)
    wanted = vision.get("image_size", family.image_size)
    if image_size != wanted:
        raise BadData(
            f"{folder}: the preprocessor makes images of {image_size} pixels, the tower takes {wanted}; "
            "correct crop_size in preprocessor_config.json."
        )
    _check_files(folder)


def check_whole(folder: Path, model: ModelParts) -> None:
    """Refuse a LLaVA model that the run file does not describe: Unsupported, InvalidSpec or WrongTemplate says why."""
    layer = feature_layer_of(folder)
    if layer != model.vision_feature_layer:
        raise InvalidSpec(
            f"{folder} was trained on layer {layer} of the tower, spec.model.visionFeatureLayer is "
            f"{model.vision_feature_layer}; write {layer}."
        )
    known = read_metadata(folder).prompt_template if has_metadata(folder) else model.prompt_template
    if known != model.prompt_template:
        raise WrongTemplate(
            f"{folder} was trained with {known}, spec.model.promptTemplate is {model.prompt_template}; write {known}."
        )


def feature_layer_of(folder: Path) -> int:
    """The layer of its tower that a whole LLaVA model reads; Unsupported when its parts are not joined as ours are."""
    config = read_json(folder / "config.json")
    if not is_whole(folder):
        raise Unsupported(f"{folder}: a model of type {config.get('model_type')}; give an exported LLaVA model.")
    family, _ = _vision(folder)
    layer = config.get("vision_feature_layer", -2)
    if config.get("vision_feature_select_strategy", "default") != family.rows_kept or not isinstance(layer, int):
        raise Unsupported(
            f"{folder}: reads several layers, or not exactly the patches, of the tower; give a model with one layer."
        )
    if config.get("projector_hidden_act", "gelu") != "gelu" or not config.get("multimodal_projector_bias", True):
        raise Unsupported(f"{folder}: its projector is not linear, GELU, linear with biases; give another model.")
    return layer


@dataclass(frozen=True)
class Widths:
    """What a projector leads from and to; None where a config leaves it to its class."""

    tower: int | None
    llm: int | None


def widths_of(llm: Path, tower: Path) -> Widths:
    """Read how wide a tower and an LLM are."""
    return Widths(_vision(tower)[1].get("hidden_size"), read_llm_config(llm).get("hidden_size"))


def layer_count(num_layers: int, feature_layer: int) -> int:
    """How many of a tower's layers run for hidden state `feature_layer` (-1: the last); InvalidSpec out of range."""
    used = num_layers + 1 + feature_layer
    if not 0 <= used <= num_layers:
        raise InvalidSpec(
            f"visionFeatureLayer {feature_layer}: the vision tower has {num_layers} layers; choose "
            f"{-num_layers - 1} to -1."
        )
    return used


def require_tower(folder: Path, model_type: str) -> TowerFamily:
    """Find the family of a vision tower; Unsupported, naming all, when there is none."""
    family = tower_family(model_type)
    if family is None:
        known = " or ".join(family.models for family in TOWERS)
        raise Unsupported(f"{folder}: a vision tower of type {model_type}; use a {known} tower.")
    return family


def _vision(folder: Path) -> tuple[TowerFamily, dict[str, Any]]:
    """Find the family of a tower and its own settings, in whatever folder it lies."""
    config = part_settings(folder, Part.TOWER)
    family = require_tower(folder, str(config.get("model_type")))
    return family, config.get("vision_config", config) if config["model_type"] == family.whole_type else config


def _check_files(folder: Path) -> None:
    """Refuse a folder without weights, and files that were cut short, as a broken download leaves them."""
    files = sorted(folder.glob("*.safetensors"))
    if not files and not any(folder.glob("*.bin")):
        raise MissingInput(f"{folder} has no weights (*.safetensors or *.bin); give a complete folder.")
    for file in files:
        _check_safetensors(file)
    for index in folder.glob("*.index.json"):
        for name in sorted(set(json.loads(index.read_bytes()).get("weight_map", {}).values())):
            if not (folder / name).is_file():
                raise MissingInput(f"{folder / name}: is named in {index.name} and not there; fetch the folder again.")


def _check_safetensors(file: Path) -> None:
    """The header says where the last tensor ends; the file must end there."""
    size = file.stat().st_size
    try:
        with file.open("rb") as content:
            header_bytes = int.from_bytes(content.read(8), "little")
            header = json.loads(content.read(min(header_bytes, _MAX_HEADER_BYTES)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise BadData(f"{file}: is no whole safetensors file ({error}); fetch it again.") from error
    wanted = 8 + header_bytes + max(ends, default=0)
    if size != wanted:
        raise BadData(f"{file}: has {size:,} bytes of {wanted:,}; fetch it again.")
