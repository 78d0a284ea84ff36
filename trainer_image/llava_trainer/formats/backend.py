"""Which tokenizer an LLM's folder holds, and what the files beside it say of it.

tokenizer.json is taken as it was saved; where there is none, tokenizer.model is built into one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import tokenizers

from llava_trainer.errors import BadData, MissingInput
from llava_trainer.formats.sentencepiece import SentencePieces, read_sentencepieces
from llava_trainer.formats.settings_file import read_json

__all__ = ["TOKENIZER_FILES", "read_backend", "read_settings"]

TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer.model")
"""What a tokenizer is read from, the first that is there."""

_SETTINGS: Final = ("special_tokens_map.json", "tokenizer_config.json")
# What the classes for SentencePiece models call their special tokens, where their folders do not say.
_USUAL_NAMES: Final = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}

# InternLM2 kept pieces free, and its chat models speak them under these names.
_KEPT_FREE: Final = "[UNUSED_TOKEN_{}]"
_INTERNLM2_NAMES: Final = {
    141: "<|plugin|>",
    142: "<|interpreter|>",
    143: "<|action_end|>",
    144: "<|action_start|>",
    145: "<|im_end|>",
    146: "<|im_start|>",
}


def read_settings(folder: Path) -> dict[str, Any]:
    """Read what tokenizer_config.json and special_tokens_map.json say; BadData when they cannot be read."""
    settings: dict[str, Any] = {} if (folder / TOKENIZER_FILES[0]).is_file() else dict(_USUAL_NAMES)
    for path in (folder / name for name in _SETTINGS if (folder / name).is_file()):
        settings |= read_json(path)
    return settings


def read_backend(folder: Path, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """Read a folder's tokenizer; `settings`: what `read_settings` gives.

    MissingInput without one, BadData when it cannot be read, Unsupported for a SentencePiece model that is not BPE.
    """
    file = next((folder / name for name in TOKENIZER_FILES if (folder / name).is_file()), None)
    if file is None:
        raise MissingInput(
            f"{folder}: holds no tokenizer.json and no tokenizer.model; give the folder of an LLM with its tokenizer."
        )
    if file.suffix == ".model":
        return _build(read_sentencepieces(file), settings)
    try:
        return tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise BadData(f"{folder}: tokenizer.json cannot be read ({error}); save the tokenizer again.") from error


def _build(pieces: SentencePieces, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """transformers takes a Llama tokenizer that does not say `legacy: false` for a legacy one."""
    return pieces.rename(_new_names(pieces, settings)).to_backend(prefix_everywhere=settings.get("legacy") is not False)


def _new_names(pieces: SentencePieces, settings: Mapping[str, Any]) -> dict[int, str]:
    """Pieces by id that the configuration calls by another name, and those of InternLM2 if it says nothing of them."""
    known = {piece.text: place for place, piece in enumerate(pieces.pieces)}
    listed = {int(place): entry["content"] for place, entry in settings.get("added_tokens_decoder", {}).items()}
    kept_free = {_KEPT_FREE.format(number): name for number, name in _INTERNLM2_NAMES.items()}
    if listed.keys().isdisjoint(known[text] for text in kept_free if text in known):
        listed |= {known[text]: name for text, name in kept_free.items() if text in known}
    return {place: name for place, name in listed.items() if place < len(pieces.pieces) and name not in known}
