"""What we remember of an exported model, in llava.json, and what people read about it, in README.md."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from llava_trainer.errors import BadData, MissingInput

__all__ = ["Metadata", "has_metadata", "read_metadata"]

_FILE: Final = "llava.json"


@dataclass(frozen=True)
class Metadata:
    """How a model was made and how it wants to be spoken to."""

    prompt_template: str
    pad_to_square: bool
    llm: str
    vision_tower: str
    llm_mode: str
    vision_tower_mode: str
    job: str
    version: int = 1

    def write(self, folder: Path) -> None:
        """Write llava.json and the model card."""
        (folder / _FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(self._card(), encoding="utf-8")

    def _card(self) -> str:
        square = (
            "padded to a square with the mean colour before the processor sees them (the processor itself crops)"
            if self.pad_to_square
            else "cropped to their centre by the processor"
        )
        return (
            "---\nlibrary_name: transformers\npipeline_tag: image-text-to-text\n---\n\n"
            f"# {self.job}\n\n"
            f"A LLaVA model: {self._origin()}. Adapters are merged.\n\n"
            "    from transformers import AutoProcessor, LlavaForConditionalGeneration\n\n"
            f"- Prompt template: `{self.prompt_template}`, no system text in training; the chat template writes it.\n"
            f"- Images were {square}.\n"
            "- Image features enter the LLM as the projector gives them, unscaled.\n"
        )

    def _origin(self) -> str:
        if self.llm == self.vision_tower:
            return f"{self.llm},\ntrained further (vision tower {self.vision_tower_mode}, LLM {self.llm_mode})"
        parts = f"{self.vision_tower} ({self.vision_tower_mode}) and {self.llm} ({self.llm_mode})"
        return f"{parts},\njoined by a projector"


def has_metadata(folder: Path) -> bool:
    """Whether a model's folder is an export of ours."""
    return (folder / _FILE).is_file()


def read_metadata(folder: Path) -> Metadata:
    """Read llava.json; MissingInput when the folder is not an export of ours, BadData when it is damaged."""
    path = folder / _FILE
    try:
        return Metadata(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise MissingInput(f"{path}: is missing; give a folder that the convert stage wrote.") from error
    except (OSError, ValueError, TypeError) as error:
        raise BadData(f"{path}: cannot be read ({error}); export the model again.") from error
