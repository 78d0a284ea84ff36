"""What config.json of a language model says, in the words of the model that runs it; nothing heavy is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llava_contract.families import LLMS, LlmFamily
from llava_trainer.errors import BadData, Unsupported
from llava_trainer.formats.huggingface.parts import Part, part_settings
from llava_trainer.formats.llm.internlm import from_internlm, from_internlm2

__all__ = ["family_of", "read_llm_config"]

_CONVERTED = {"internlm": from_internlm, "internlm2": from_internlm2}


def read_llm_config(folder: Path) -> dict[str, Any]:
    """Read the config of an LLM's folder, or of the LLM in a whole model's, with the model_type that it runs as.

    MissingInput without one, BadData for a damaged one, Unsupported, naming all families, for a model of no family.
    """
    config = part_settings(folder, Part.LLM)
    convert = _CONVERTED.get(family_of(folder, config).model_type)
    try:
        return convert(config) if convert else config
    except (KeyError, TypeError, ValueError) as error:
        raise BadData(f"{folder / 'config.json'}: lacks a setting ({error}); fetch the model again.") from error


def family_of(folder: Path, config: dict[str, Any]) -> LlmFamily:
    """Find the family of an LLM; Unsupported when there is none."""
    family = LLMS.get(str(config.get("model_type")))
    if family is None:
        raise Unsupported(f"{folder}: an LLM of type {config.get('model_type')}; use one of {', '.join(LLMS)}.")
    return family
