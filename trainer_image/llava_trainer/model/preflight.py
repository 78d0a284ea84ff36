"""What the folders of a model's parts tell before torch is loaded: family, layers, sizes, and whether files are whole.

A wrong folder is refused while it costs nothing; building the model checks again, tensor by tensor.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from llava_contract.families import TOWERS, TowerFamily, tower_family
from llava_trainer.errors import BadData, InvalidSpec, MissingInput, Unsupported
from llava_trainer.formats.llm.config import read_llm_config
from llava_trainer.formats.settings_file import read_json

__all__ = ["check_llm", "check_tower", "layer_count", "require_tower"]

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
    config = read_json(folder / "config.json")
    family = require_tower(folder, str(config.get("model_type")))
    vision = config.get("vision_config", config) if config["model_type"] == family.whole_type else config
    layer_count(vision.get("num_hidden_layers", 12), feature_layer)
    wanted = vision.get("image_size", family.image_size)
    if image_size != wanted:
        raise BadData(
            f"{folder}: the preprocessor makes images of {image_size} pixels, the tower takes {wanted}; "
            "correct crop_size in preprocessor_config.json."
        )
    _check_files(folder)


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
