"""How the LLM's tokenizer gets `<image>` and `<pad>`, and how embedding and head grow rows for them.

V = vocabulary, D = width of the LLM.
"""
# ruff: noqa: N803

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tokenizers
import torch

from llava_trainer.formats.backend import read_backend, read_settings
from llava_trainer.formats.huggingface.keys import EMBEDDING, HEAD

__all__ = ["IMAGE_TOKEN", "PAD_TOKEN", "Vocabulary", "grow", "write_tokenizer"]

IMAGE_TOKEN: Final = "<image>"  # noqa: S105  (a piece of the vocabulary, no secret)
PAD_TOKEN: Final = "<pad>"  # noqa: S105
_MULTIPLE: Final = 64  # of rows, for the kernels of servers
_NAMED: Final = ("bos_token", "eos_token", "unk_token")
_DROPPED: Final = ("added_tokens_decoder", "auto_map", "name_or_path", "tokenizer_file", "special_tokens_map_file")


@dataclass(frozen=True)
class Vocabulary:
    """Ids of the exported tokenizer; `size` is the number of rows of embedding and head."""

    image_id: int
    pad_id: int
    bos_id: int | None
    stop_ids: tuple[int, ...]
    size: int


def write_tokenizer(
    folder: Path, llm_folder: Path, *, num_rows: int, stop_words: tuple[str, ...], chat_template: str
) -> Vocabulary:
    """Write the LLM's tokenizer with the two tokens added and give the ids.

    num_rows: rows of the LLM's embedding; stop_words: pieces that end an answer beside the tokenizer's EOS. The files
    name PreTrainedTokenizerFast, so that tokenizer.json is taken as it is: transformers 5 rebuilds the tokenizers of
    some families and then gives other ids than those of training.
    """
    config = read_settings(llm_folder)
    backend = _read_backend(llm_folder, config)
    backend.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False) for token in (IMAGE_TOKEN, PAD_TOKEN)]
    )
    backend.save(str(folder / "tokenizer.json"))
    named = {name: token for name in _NAMED if (token := _content(config.get(name))) is not None}
    config = {key: value for key, value in config.items() if key not in _DROPPED}
    config |= named | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": "LlavaProcessor",
        "pad_token": PAD_TOKEN,
        "padding_side": "left",
        "extra_special_tokens": {"image_token": IMAGE_TOKEN},
        "chat_template": chat_template,
    }
    _write_json(folder / "tokenizer_config.json", config)
    _write_json(folder / "special_tokens_map.json", named | {"pad_token": PAD_TOKEN})
    ends = [named["eos_token"]] if "eos_token" in named else []
    stop_ids = dict.fromkeys(backend.token_to_id(piece) for piece in (*ends, *stop_words))
    ids: dict[str, int] = backend.get_vocab(with_added_tokens=True)
    return Vocabulary(
        image_id=ids[IMAGE_TOKEN],
        pad_id=ids[PAD_TOKEN],
        bos_id=backend.token_to_id(named["bos_token"]) if "bos_token" in named else None,
        stop_ids=tuple(token for token in stop_ids if token is not None),
        size=-(-max(max(ids.values()) + 1, num_rows) // _MULTIPLE) * _MULTIPLE,
    )


def grow(name: str, tensor_VD: torch.Tensor, size: int) -> torch.Tensor:
    """Add rows up to `size` to embedding and head, drawn around their mean, always the same; leave others alone."""
    num_new = size - len(tensor_VD)
    if name not in (EMBEDDING, HEAD) or num_new <= 0:
        return tensor_VD
    mean, spread = tensor_VD.float().mean(dim=0), tensor_VD.float().std(dim=0)
    noise = torch.randn(num_new, len(mean), generator=torch.Generator().manual_seed(num_new))
    rows = mean + 1e-2 * spread * noise
    return torch.cat([tensor_VD, rows.to(tensor_VD.dtype)])


def _read_backend(folder: Path, config: dict[str, Any]) -> tokenizers.Tokenizer:
    """Read the tokenizer and add, in the order of their ids, the tokens that only its configuration lists."""
    backend = read_backend(folder, config)
    for _, entry in sorted(config.get("added_tokens_decoder", {}).items(), key=lambda item: int(item[0])):
        if backend.token_to_id(entry["content"]) is None:
            backend.add_tokens([tokenizers.AddedToken(**entry)])
    missing = [token for name in _NAMED if (token := _content(config.get(name))) and backend.token_to_id(token) is None]
    backend.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in missing])
    return backend


def _content(entry: Any) -> str | None:
    content = entry.get("content") if isinstance(entry, dict) else entry
    return content if isinstance(content, str) else None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
