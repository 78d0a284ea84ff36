"""How a SentencePiece model (tokenizer.model) is read without its library and becomes the tokenizer that fast ones are.

Published InternLM, Llama-2 and Vicuna folders often hold nothing else. The file is a protobuf message; the few fields
that decide ids are read here, by the numbers that sentencepiece_model.proto gives them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Final

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from llava_trainer.errors import BadData, Unsupported

__all__ = ["SentencePieces", "read_sentencepieces"]

_SPACE: Final = "\u2581"  # how a space is written in pieces
_BPE: Final = 2


class Kind(IntEnum):
    """What a piece is for."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of the vocabulary; of two possible merges the one that makes the piece of higher score comes first."""

    text: str
    score: float
    kind: Kind


@dataclass(frozen=True)
class SentencePieces:
    """A BPE vocabulary and how text is brought into its characters; ids are places in `pieces`.

    Special tokens, and pieces of the user that no merge reaches, are found whole in a text before anything is merged.
    """

    pieces: tuple[Piece, ...]
    adds_prefix: bool
    squeezes_spaces: bool
    character_map: bytes

    def rename(self, names: Mapping[int, str]) -> SentencePieces:
        """Give pieces other texts by id, as a chat model does with pieces that were kept free for it."""
        pieces = list(self.pieces)
        for place, text in names.items():
            pieces[place] = Piece(text, 0.0, Kind.CONTROL)
        return replace(self, pieces=tuple(pieces))

    def to_backend(self, *, prefix_everywhere: bool) -> tokenizers.Tokenizer:
        """Build the tokenizer.

        prefix_everywhere: where the model puts a space before a text, put it also behind each special token, as
        releases of transformers that call it legacy do.
        """
        unknown = next((piece.text for piece in self.pieces if piece.kind is Kind.UNKNOWN), None)
        vocabulary = {piece.text: place for place, piece in enumerate(self.pieces)}
        merges = self._merges()
        backend = tokenizers.Tokenizer(
            models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
        )
        steps = [*self._cleaning(), normalizers.Replace(" ", _SPACE)]
        if self.adds_prefix and prefix_everywhere:
            steps.insert(-1, normalizers.Prepend(_SPACE))
        elif self.adds_prefix:
            backend.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, prepend_scheme="first", split=False)
            steps.pop()
        backend.normalizer = normalizers.Sequence(steps)
        strip = [decoders.Strip(content=" ", left=1, right=0)] if self.adds_prefix else []
        backend.decoder = decoders.Sequence(
            [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
        )
        backend.add_special_tokens(_tokens(self._texts(Kind.UNKNOWN, Kind.CONTROL), special=True))
        made = {left + right for left, right in merges}
        whole = [text for text in self._texts(Kind.USER_DEFINED) if len(text) > 1 and text not in made]
        backend.add_tokens(_tokens(whole))
        return backend

    def _texts(self, *kinds: Kind) -> list[str]:
        return [piece.text for piece in self.pieces if piece.kind in kinds]

    def _cleaning(self) -> list[normalizers.Normalizer]:
        squeeze = [normalizers.Replace(tokenizers.Regex(" {2,}"), " "), normalizers.Strip()]
        mapped = [normalizers.Precompiled(self.character_map)] if self.character_map else []
        return [*mapped, *(squeeze if self.squeezes_spaces else [])]

    def _merges(self) -> list[tuple[str, str]]:
        """Every way to make a piece of two others, the best piece first, then the longest halves.

        SentencePiece itself takes the leftmost of equals, which ranks cannot say; this is the order that transformers
        gives to the fast tokenizers it makes, so ids are equal to theirs.
        """
        id_of = {piece.text: place for place, piece in enumerate(self.pieces) if piece.kind in _MERGED}
        ranked = [
            (-self.pieces[place].score, -cut, -len(text), place, text[:cut], text[cut:])
            for text, place in id_of.items()
            for cut in range(1, len(text))
            if text[:cut] in id_of and text[cut:] in id_of
        ]
        ranked.sort()
        return [(left, right) for *_, left, right in ranked]


def _tokens(texts: list[str], *, special: bool = False) -> list[tokenizers.AddedToken]:
    return [tokenizers.AddedToken(text, special=special, normalized=False) for text in texts]


_MERGED: Final = (Kind.NORMAL, Kind.USER_DEFINED, Kind.UNUSED)


def read_sentencepieces(path: Path) -> SentencePieces:
    """Read a tokenizer.model; BadData when it is none, Unsupported when it is no BPE model."""
    try:
        parts = list(_fields(path.read_bytes()))
        pieces = tuple(_piece(value) for number, value in parts if number == 1 and isinstance(value, bytes))
        trainer, normalizer = (_message(parts, number) for number in (2, 3))
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise BadData(f"{path}: is no SentencePiece model ({error}); fetch it again.") from error
    if not pieces:
        raise BadData(f"{path}: holds no pieces; fetch it again.")
    if trainer.get(3, 1) != _BPE:
        raise Unsupported(f"{path}: is no BPE model; save the tokenizer as tokenizer.json beside it.")
    character_map = normalizer.get(2, b"")
    return SentencePieces(
        pieces=pieces,
        adds_prefix=bool(normalizer.get(3, 1)),
        squeezes_spaces=bool(normalizer.get(4, 1)),
        character_map=character_map if isinstance(character_map, bytes) else b"",
    )


def _piece(message: bytes) -> Piece:
    text, score, kind = "", 0.0, Kind.NORMAL
    for number, value in _fields(message):
        match number, value:
            case 1, bytes():
                text = value.decode("utf-8")
            case 2, bytes():
                (score,) = struct.unpack("<f", value)
            case 3, int():
                kind = Kind(value)
    return Piece(text, score, kind)


def _message(parts: list[tuple[int, int | bytes]], wanted: int) -> dict[int, int | bytes]:
    """The fields of a message inside the model; of a repeated field the last."""
    found = next((value for number, value in parts if number == wanted), b"")
    return dict(_fields(found)) if isinstance(found, bytes) else {}


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Take a protobuf message apart: number and value of each field, fixed-size values as their bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        match key & 7:
            case 0:
                value, place = _varint(message, place)
                yield key >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, place = _varint(message, place)
            case 5:
                size = 4
            case wire_type:
                raise ValueError(f"wire type {wire_type} at byte {place}")
        if place + size > len(message):
            raise ValueError(f"{len(message)} bytes of {place + size}")
        yield key >> 3, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first; the last byte has no high bit. Gives value and next place."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
