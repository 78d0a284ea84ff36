"""What a row of a LLaVA annotation file may look like, and every way in which one can be unusable.

A row is named by its file and its number, counted from 0. One wrong row never stops the reading: it comes out as a BadRow.
Only a file that cannot be taken apart into rows is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TextIO

from llava_trainer.errors import BadData, MissingInput

__all__ = ["BadRow", "Reason", "Record", "Role", "Turn", "read_records"]

_CHUNK_CHARS: Final = 1 << 20  # a row of a published set has about 1,500 characters


class Role(StrEnum):
    """Who speaks; the spelling is case-sensitive."""

    HUMAN = "human"
    GPT = "gpt"


class Reason(StrEnum):
    """Why a row cannot be used; a closed list, so that reports can count by it."""

    NOT_JSON = "not-json"
    NOT_AN_OBJECT = "not-an-object"
    BAD_CONVERSATIONS = "bad-conversations"
    WRONG_ROLE = "wrong-role"
    BAD_VALUE = "bad-value"
    BAD_IMAGE_FIELD = "bad-image-field"
    BAD_ID = "bad-id"
    IMAGE_WITHOUT_TOKEN = "image-without-token"
    TOKEN_WITHOUT_IMAGE = "token-without-image"  # noqa: S105  (the image token, not a secret)
    TOKENS_IN_JOINED_TURNS = "tokens-in-joined-turns"
    TOKENS_IN_SEVERAL_TURNS = "tokens-in-several-turns"
    TOKEN_COUNT = "token-count"  # noqa: S105
    IMAGE_MISSING = "image-missing"
    IMAGE_UNREADABLE = "image-unreadable"
    IMAGE_TRUNCATED = "image-truncated"
    NOT_AN_IMAGE = "not-an-image"
    DECOMPRESSION_BOMB = "decompression-bomb"


_ADVICE: Final[dict[Reason, str]] = {
    Reason.NOT_JSON: "write one JSON object on each line",
    Reason.NOT_AN_OBJECT: 'write the row as {"image": ..., "conversations": [...]}',
    Reason.BAD_CONVERSATIONS: 'give "conversations" a list of {"from", "value"} objects',
    Reason.WRONG_ROLE: 'use only "human" and "gpt", in lower case',
    Reason.BAD_VALUE: 'give "value" a string of valid Unicode',
    Reason.BAD_IMAGE_FIELD: 'give "image" a path relative to the image folder, or leave it out',
    Reason.BAD_ID: 'give "id" a string or a whole number, or leave it out',
    Reason.IMAGE_WITHOUT_TOKEN: "write <image> into the human value that asks about the image, or take the image out",
    Reason.TOKEN_WITHOUT_IMAGE: 'name the image in "image", or take <image> out',
    Reason.TOKENS_IN_JOINED_TURNS: "keep <image> in only one of the consecutive human turns",
    Reason.TOKENS_IN_SEVERAL_TURNS: "keep <image> in only one human turn, or list as many images",
    Reason.TOKEN_COUNT: "write <image> exactly once for each image of the row",
    Reason.IMAGE_MISSING: "put the file there, or correct the path in the row",
    Reason.IMAGE_UNREADABLE: "give this user the right to read the file",
    Reason.IMAGE_TRUNCATED: "fetch the file again",
    Reason.NOT_AN_IMAGE: "replace the file by a real image",
    Reason.DECOMPRESSION_BOMB: "scale the image down",
}


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a row, as written."""

    role: Role
    value: str


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the file `source` that has the right shape; `row` counts from 0, `images` are paths as written."""

    source: str
    row: int
    id: str | None
    images: tuple[str, ...]
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row that cannot be used; `str` of it is the sentence that the user reads."""

    source: str
    row: int
    id: str | None
    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.source} row {self.row:,}: {self.detail}; {_ADVICE[self.reason]}."
