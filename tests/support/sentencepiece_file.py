"""A tokenizer.model written by hand: the protobuf fields that decide ids, and the vocabulary of a tokenizer.json."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNIGRAM, BPE = 1, 2

Piece = tuple[str, float, int]
"""Text, score and kind."""


def varint(value: int) -> bytes:
    rest, low = value >> 7, value & 0x7F
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def model_bytes(pieces: list[Piece], *, kind: int = BPE, prefix: bool = True, squeeze: bool = False) -> bytes:
    entries = [
        message(1, message(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + number(3, piece_kind))
        for text, score, piece_kind in pieces
    ]
    settings = message(1, b"identity") + number(3, prefix) + number(4, squeeze)
    return b"".join([*entries, message(2, number(3, kind)), message(3, settings)])


def pieces_of(tokenizer_json: Path) -> list[Piece]:
    """The pieces of a BPE tokenizer with byte fallback; a piece that is merged earlier has a higher score."""
    value: dict[str, Any] = json.loads(tokenizer_json.read_text("utf-8"))
    merges = [merge if isinstance(merge, list) else merge.split(" ") for merge in value["model"]["merges"]]
    rank: dict[str, int] = {}
    for place, (left, right) in enumerate(merges):
        rank.setdefault(left + right, place)
    texts = sorted(value["model"]["vocab"], key=value["model"]["vocab"].__getitem__)
    return [(text, -float(rank.get(text, len(merges))), _kind(text)) for text in texts]


def _kind(text: str) -> int:
    if text == "<unk>":
        return UNKNOWN
    if text in ("<s>", "</s>"):
        return CONTROL
    return BYTE if text.startswith("<0x") and len(text) == 6 else NORMAL
