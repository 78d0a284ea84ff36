"""Builds small benchmark files, a row a question, the way a test needs them."""

from __future__ import annotations

import base64
from pathlib import Path

PICTURE = base64.b64encode(b"not really a PNG file").decode()


def row(index: int = 1, **cells: str) -> dict[str, str]:
    """A complete row; name a column to change it, give None-like texts as they are."""
    usual = {"question": "What?", "hint": "", "A": "a dog", "B": "a cat", "answer": "A", "category": "ocr"}
    usual |= {"image": PICTURE, "l2-category": "logic_reasoning"}
    return {"index": str(index), **usual, **{name.replace("l2_", "l2-"): text for name, text in cells.items()}}


def write_tsv(path: Path, *rows: dict[str, str], without: tuple[str, ...] = ()) -> Path:
    """Write rows under the columns of the first one, less those in `without`."""
    columns = [name for name in rows[0] if name not in without]
    lines = [columns, *([each.get(name, "") for name in columns] for each in rows)]
    path.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
    return path
