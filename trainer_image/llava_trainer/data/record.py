"""What a row of a LLaVA annotation file may look like, and every way in which one can be unusable.

A row is named by its file and its number, counted from 0. One wrong row never stops the reading: it comes out as a
BadRow. Only a file that cannot be taken apart into rows is an error.
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
    IMAGE_WITHOUT_TOKEN = "image-without-token"  # noqa: S105  (the image token, not a secret)
    TOKEN_WITHOUT_IMAGE = "token-without-image"  # noqa: S105
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


def read_records(path: Path, *, source: str | None = None) -> Iterator[Record | BadRow]:
    """Give every row of a JSON array (`.json`) or of JSON lines (`.jsonl`) in order; memory holds one row at a time.

    `source` is the name that rows carry, the file's name unless given. Raises MissingInput when there is no such file
    and BadData when the file is neither form, is not UTF-8, or breaks off.
    """
    source = source or path.name
    split = {".json": _array_items, ".jsonl": _line_items}.get(path.suffix.lower())
    if split is None:
        raise BadData(f"{path}: annotations end in .json (one array) or .jsonl (one object a line); rename the file.")
    try:
        with path.open(encoding="utf-8-sig") as file:
            for row, item in enumerate(split(file, source)):
                yield _parse(item, source=source, row=row)
    except FileNotFoundError as error:
        raise MissingInput(f"{path}: there is no such annotation file; correct the path.") from error
    except OSError as error:
        raise MissingInput(
            f"{path}: the annotation file cannot be read ({error.strerror}); correct the path."
        ) from error
    except UnicodeDecodeError as error:
        raise BadData(f"{path}: not UTF-8 at byte {error.start:,}; save the file as UTF-8.") from error


# Python refuses to read such a number, and its parser says so with a plain ValueError.
_TOO_LONG: Final = "a number of thousands of digits"


@dataclass(frozen=True, slots=True)
class _NotJson:
    """A line that the JSON parser refused."""

    message: str


def _line_items(file: TextIO, source: str) -> Iterator[Any]:  # noqa: ARG001  (same signature as _array_items)
    for line in file:
        if line.strip():
            try:
                yield json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                yield _NotJson(str(error))
            except ValueError:
                yield _NotJson(_TOO_LONG)


def _array_items(file: TextIO, source: str) -> Iterator[Any]:
    """Take a JSON array apart without holding it: a published file of 1 GB would need 4 GB as objects."""
    text = _Window(file, source)
    if text.next_char() != "[":
        raise BadData(f"{source}: not a JSON array; write one, or name the file .jsonl if each line is a row.")
    text.skip()
    if text.next_char() == "]":
        return
    while True:
        yield text.value()
        closing = text.next_char()
        text.skip()
        if closing == "]":
            return
        if closing != ",":
            raise text.broken("expected a comma or the closing bracket")


class _Window:
    """The part of a JSON text that is in memory; `rows` counts the values that have been taken."""

    def __init__(self, file: TextIO, source: str) -> None:
        self._file, self._source = file, source
        self._text, self._at, self.rows = "", 0, 0
        self._decoder = json.JSONDecoder()

    def broken(self, what: str) -> BadData:
        place = f"after row {self.rows - 1:,}" if self.rows else "before the first row"
        return BadData(f"{self._source}: not valid JSON {place} ({what}); mend the file or fetch it again.")

    def skip(self) -> None:
        self._at += 1

    def next_char(self) -> str:
        """The next character that is not white space; it stays in place."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                raise self.broken("the file breaks off")

    def value(self) -> Any:
        """Take the next value; a parse that touches the window's end is tried again with more text."""
        self.next_char()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._more():
                    raise self.broken(error.msg) from error
                continue
            except RecursionError as error:
                raise self.broken("nested too deeply") from error
            except ValueError as error:
                raise self.broken(_TOO_LONG) from error
            if end == len(self._text) and self._more():
                continue
            self._at = end
            self.rows += 1
            return value

    def _more(self) -> bool:
        # As much again as is held, so that one huge value costs a few tries, not thousands.
        chunk = self._file.read(max(_CHUNK_CHARS, len(self._text) - self._at))
        self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)


class _Wrong(Exception):
    """Leaves the parsing of one row; never seen outside this file."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def _parse(item: Any, *, source: str, row: int) -> Record | BadRow:
    row_id = None
    try:
        if isinstance(item, _NotJson):
            raise _Wrong(Reason.NOT_JSON, f"the line is not JSON ({item.message})")
        if not isinstance(item, dict):
            raise _Wrong(Reason.NOT_AN_OBJECT, f"the row is {_kind(item)}, not an object")
        row_id = _id(item.get("id"))
        return Record(source, row, row_id, _images(item.get("image")), _turns(item.get("conversations")))
    except _Wrong as wrong:
        return BadRow(source, row, row_id, wrong.reason, wrong.detail)


def _id(value: Any) -> str | None:
    """Nothing is decided by an id, so any kind will do."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _images(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    images = value if isinstance(value, list) else [value]
    for image in images:
        if not isinstance(image, str):
            raise _Wrong(Reason.BAD_IMAGE_FIELD, f"image is {_kind(image)}, not a path")
        if not image or "\0" in image or not _is_unicode(image):
            raise _Wrong(Reason.BAD_IMAGE_FIELD, f"image is {image!r}, not a path")
    return tuple(images)


def _turns(value: Any) -> tuple[Turn, ...]:
    if not isinstance(value, list):
        raise _Wrong(Reason.BAD_CONVERSATIONS, f"conversations is {_kind(value)}, not a list")
    return tuple(_turn(index, item) for index, item in enumerate(value))


def _turn(index: int, item: Any) -> Turn:
    if not isinstance(item, dict):
        raise _Wrong(Reason.BAD_CONVERSATIONS, f"conversations[{index}] is {_kind(item)}, not an object")
    role, value = item.get("from"), item.get("value")
    if role not in ("human", "gpt"):
        raise _Wrong(Reason.WRONG_ROLE, f"the role of conversations[{index}] is {json.dumps(role)[:40]}")
    if not isinstance(value, str):
        raise _Wrong(Reason.BAD_VALUE, f"the value of conversations[{index}] is {_kind(value)}, not a string")
    if not _is_unicode(value):
        raise _Wrong(Reason.BAD_VALUE, f"the value of conversations[{index}] holds half a surrogate pair")
    return Turn(_ROLES[role], value)


_ROLES: Final = {role.value: role for role in Role}


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    names = {
        bool: "a truth value",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "missing" if value is None else type(value).__name__)
