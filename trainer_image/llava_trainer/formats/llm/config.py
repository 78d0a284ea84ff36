"""What config.json of a language model says, in the words of the model that runs it; nothing heavy is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llava_contract.families import LLMS, LlmFamily
from llava_trainer.errors import BadData, MissingInput, Unsupported
from llava_trainer.formats.llm.internlm import from_internlm, from_internlm2

__all__ = ["family_of", "read_json", "read_llm_config"]

_CONVERTED = {"internlm": from_internlm, "internlm2": from_internlm2}


def read_llm_config(folder: Path) -> dict[str, Any]:
    """Read the config of an LLM's folder, with the model_type that it runs as.

    MissingInput without one, BadData for a damaged one, Unsupported, naming all families, for a model of no family.
    """
    config = read_json(folder / "config.json")
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


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of settings; MissingInput or BadData names it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInput(f"{path.parent} has no {path.name}; give a folder as save_pretrained writes it.") from error
    except (OSError, ValueError) as error:
        raise BadData(f"{path}: cannot be read ({error}); save the model again.") from error
    if not isinstance(content, dict):
        raise BadData(f"{path}: is no JSON object; save the model again.")
    return content
