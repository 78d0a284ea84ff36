"""What a folder says and holds of one part of a model: all of it, or in a whole LLaVA model that part's share.

Whole models are LlavaForConditionalGeneration folders: text_config and vision_config are the settings of their parts,
and tensors bear the part's name in front, as our exports and any release of transformers write them.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llava_trainer.errors import BadData, WeightsMismatch
from llava_trainer.formats.settings_file import read_json

if TYPE_CHECKING:
    from llava_trainer.weights.reading import WeightFiles

__all__ = ["Part", "is_whole", "open_part_weights", "part_settings"]

_WHOLE: Final = "llava"


class Part(StrEnum):
    """A part that may have a folder of its own; the value names its settings in a whole model's config.json."""

    LLM = "text_config"
    TOWER = "vision_config"


# What stands in front of a part's own names, and what stays of it; the first that fits counts.
_PREFIXES: Final = {
    Part.LLM: {"language_model.": "", "model.language_model.": "model.", "lm_head.": "lm_head."},
    Part.TOWER: {"vision_tower.vision_model.": "", "model.vision_tower.vision_model.": "", "vision_tower.": "",
                 "model.vision_tower.": ""},
}  # fmt: skip

_KNOWN: Final = (
    *(prefix for prefixes in _PREFIXES.values() for prefix in prefixes),
    "multi_modal_projector.",
    "model.multi_modal_projector.",
)


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a whole LLaVA model; MissingInput or BadData when it has no config.json to say so."""
    return read_json(folder / "config.json").get("model_type") == _WHOLE


def part_settings(folder: Path, part: Part) -> dict[str, Any]:
    """Read the settings of a part; MissingInput or BadData names the file."""
    config = read_json(folder / "config.json")
    if config.get("model_type") != _WHOLE:
        return config
    settings = config.get(part.value)
    if not isinstance(settings, dict):
        raise BadData(f"{folder / 'config.json'}: a LLaVA model without {part.value}; save the model again.")
    return settings


def open_part_weights(folder: Path, part: Part) -> WeightFiles:
    """Find the tensors of a part under its own names.

    MissingInput or BadData when they cannot be read, WeightsMismatch for a tensor that is of no part of a whole model.
    """
    from llava_trainer.weights.reading import open_weights  # noqa: PLC0415  (torch, which settings do without)

    files = open_weights(folder)
    if not is_whole(folder):
        return files
    odd = [name for name in files.names if not name.startswith(_KNOWN)]
    if odd:
        raise WeightsMismatch(f"{folder}: {odd[0]} is of no part of a LLaVA model; give a LLaVA model's weights.")
    return files.renamed({name: own for name in files.names if (own := _own_name(name, part)) is not None})


def _own_name(name: str, part: Part) -> str | None:
    """What a part alone would call a tensor of a whole model; None for a tensor of another part."""
    for prefix, own in _PREFIXES[part].items():
        if name.startswith(prefix):
            return own + name.removeprefix(prefix)
    return None
