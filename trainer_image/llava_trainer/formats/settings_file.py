"""The JSON files of a model's folder, and what is said where one is missing or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llava_trainer.errors import BadData, MissingInput

__all__ = ["read_json"]


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
