"""Logs of a stage that grow by a JSON line at a time and are written whole whenever a checkpoint is committed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from llava_trainer.storage import Storage

__all__ = ["read_lines", "write_lines"]


def read_lines(storage: Storage, path: str) -> list[dict[str, Any]]:
    """Give the object of each line; nothing when there is no such file."""
    if not storage.exists(path):
        return []
    return [json.loads(line) for line in storage.read(path).decode().splitlines()]


def write_lines(storage: Storage, path: str, lines: Iterable[str]) -> None:
    """Replace the file by these lines."""
    storage.write(path, "".join(f"{line}\n" for line in lines).encode())
