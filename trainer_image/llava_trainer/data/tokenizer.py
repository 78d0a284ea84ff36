"""How a folder's tokenizer is read without transformers, with the same ids as its PreTrainedTokenizerFast.

transformers' AutoTokenizer rebuilds some tokenizers and gives other ids for text that starts with a space; the file
as it was saved is the truth here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import tokenizers
import tokenizers.decoders

from llava_trainer.formats.backend import TOKENIZER_FILES, read_backend, read_settings

__all__ = ["Tokenizer"]

_BESIDE: Final = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_NAMED: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FLAGS: Final = ("lstrip", "rstrip", "single_word", "normalized")


class Tokenizer:
    """Text to ids and back. `name` says where it came from; `*_id` are None where the tokenizer has no such token."""

    def __init__(self, folder: str | Path) -> None:
        """Read a folder; MissingInput without a tokenizer, BadData when a file of it cannot be read."""
        self.folder = Path(folder)
        self.name = str(folder)
        self._config = read_settings(self.folder)
        self._backend = read_backend(self.folder, self._config)
        self._backend.no_truncation()
        self._backend.no_padding()
        self._add_tokens()
        self._encode_constant = lru_cache(maxsize=64)(self.encode)

    def __len__(self) -> int:
        return self._backend.get_vocab_size(with_added_tokens=True)

    @cached_property
    def bos_id(self) -> int | None:
        """Id of the token that opens a text."""
        return self._named_id("bos_token")

    @cached_property
    def eos_id(self) -> int | None:
        """Id of the token that closes an answer."""
        return self._named_id("eos_token")

    @cached_property
    def pad_id(self) -> int | None:
        """Id of the padding token; the closing token where there is none."""
        pad = self._named_id("pad_token")
        return self.eos_id if pad is None else pad

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the tokenizer's files: equal digests mean equal ids."""
        whole = hashlib.sha256()
        read = next(name for name in TOKENIZER_FILES if (self.folder / name).is_file())
        for name in (read, *_BESIDE):
            path = self.folder / name
            content = path.read_bytes() if path.is_file() else b""
            whole.update(f"{name} {len(content)}\n".encode() + content)
        return whole.hexdigest()

    def encode(self, text: str) -> list[int]:
        """Ids of `text` alone: no BOS or EOS is added; special tokens written out in the text become their ids."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode_constant(self, text: str) -> list[int]:
        """`encode` for the few texts that every row repeats; do not change the list."""
        return self._encode_constant(text)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Text of `ids`."""
        return self._backend.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def texts(self, ids: Sequence[int]) -> list[str]:
        """The text that each id adds to those before it; a character of several ids comes with its last."""
        stream = tokenizers.decoders.DecodeStream(skip_special_tokens=False)
        return [stream.step(self._backend, token) or "" for token in ids]

    def token_id(self, piece: str) -> int | None:
        """Id of one piece of the vocabulary."""
        return self._backend.token_to_id(piece)

    def is_piece(self, text: str) -> bool:
        """Whether `text`, met in a prompt, becomes exactly one token."""
        token = self.token_id(text)
        return token is not None and self.encode(text) == [token]

    def _named_id(self, name: str) -> int | None:
        content = _content(self._config.get(name))
        return None if content is None else self.token_id(content)

    def _add_tokens(self) -> None:
        """Add what the configuration lists and tokenizer.json lacks, in the order of ids, as transformers does."""
        known = self._backend.get_added_tokens_decoder()
        listed = self._config.get("added_tokens_decoder", {})
        for _, entry in sorted(listed.items(), key=lambda item: int(item[0])):
            flags = {flag: bool(entry.get(flag, False)) for flag in _FLAGS}
            token = tokenizers.AddedToken(entry["content"], special=bool(entry.get("special", False)), **flags)
            if token not in known.values():
                self._backend.add_tokens([token])
        present = {token.content for token in self._backend.get_added_tokens_decoder().values()}
        named = [self._config.get(name) for name in _NAMED] + list(self._config.get("additional_special_tokens") or [])
        for content in map(_content, named):
            if content is not None and content not in present:
                self._backend.add_special_tokens([tokenizers.AddedToken(content, special=True, normalized=False)])
                present.add(content)


def _content(entry: Any) -> str | None:
    """The text of a special token, which configurations write as a string or as an object."""
    content = entry.get("content") if isinstance(entry, dict) else entry
    return content if isinstance(content, str) else None
