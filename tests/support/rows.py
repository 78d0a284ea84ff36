"""Builders of annotation rows, their files, and images that are broken in every way we know."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from llava_trainer.data.conversation import Conversation, normalise
from llava_trainer.data.record import BadRow, Record, read_records


def turns(*values: str, first: str = "human") -> list[dict[str, str]]:
    """Alternating turns."""
    roles = ("human", "gpt") if first == "human" else ("gpt", "human")
    return [{"from": roles[i % 2], "value": value} for i, value in enumerate(values)]


def row(*values: str, **fields: Any) -> dict[str, Any]:
    """One row of alternating turns, human first."""
    return {"conversations": turns(*values), **fields}


def image_row(image: Any, *values: str, **fields: Any) -> dict[str, Any]:
    """One row about an image."""
    return row(*(values or ("<image>\nWhat is this?", "A dog.")), image=image, **fields)


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    """Write an annotation file in the form that its ending says."""
    lines = [json.dumps(r, ensure_ascii=False) for r in rows]
    text = "\n".join(lines) if path.suffix == ".jsonl" else json.dumps(rows, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return path


def read_one(tmp_path: Path, value: Any) -> Record | BadRow:
    """What reading makes of one row."""
    (result,) = read_records(write_rows(tmp_path / "coco.json", [value]))
    return result


def normalise_one(tmp_path: Path, value: Any) -> Conversation | BadRow:
    """What reading and normalising make of one row."""
    record = read_one(tmp_path, value)
    return record if isinstance(record, BadRow) else normalise(record)


def make_image(path: Path, mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Path:
    """A sound image whose pixels differ."""
    width, height = size
    values = bytes((x * 7 + y * 13) % 256 for y in range(height) for x in range(width))
    grey = Image.frombytes("L", size, values)
    if mode == "I;16":
        image = Image.frombytes("I;16", size, bytes(half for value in values for half in (value, value)))
    else:
        image = grey.convert(mode) if mode != "P" else grey.convert("RGB").quantize(16)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def break_off(path: Path, share: float = 0.5) -> Path:
    """Cut a file short."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def make_bomb(path: Path, side: int = 30_000) -> Path:
    """A PNG of a few bytes that claims side x side pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path
