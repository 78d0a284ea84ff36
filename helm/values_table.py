"""Writes the table of values in a chart's README: each value's path, default and the first line of its comment.

    python helm/values_table.py helm/llava-operator

A key of values.yaml with a comment right above it is a value; a mapping without one is a section of values.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

BEGIN, END = "<!-- values -->", "<!-- /values -->"


def rows(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, default as JSON, and description of every value."""
    yield from _below(yaml.compose(text), yaml.safe_load(text), lines=text.splitlines(), path="")


def _below(node: yaml.Node, values: object, *, lines: list[str], path: str) -> Iterator[tuple[str, str, str]]:
    assert isinstance(node, yaml.MappingNode), f"{path} is no mapping"
    assert isinstance(values, dict), f"{path} is no mapping"
    for key, value in node.value:
        name, here = key.value, f"{path}{key.value}"
        comment = _above(lines, key.start_mark.line)
        if comment:
            yield here, json.dumps(values[name]), comment
        else:
            yield from _below(value, values[name], lines=lines, path=f"{here}.")


def _above(lines: list[str], index: int) -> str:
    """Give the first line of the comment block that ends right above a line."""
    block: list[str] = []
    while index > 0 and lines[index - 1].lstrip().startswith("#"):
        index -= 1
        block.insert(0, lines[index].lstrip("# ").rstrip())
    return block[0] if block else ""


def table(text: str) -> str:
    """Render the rows as Markdown."""
    head = "| value | default | what it is for |\n|---|---|---|\n"
    return head + "".join(f"| `{path}` | `{default}` | {what} |\n" for path, default, what in rows(text))


def main(folder: Path) -> None:
    """Put the table between the two marks of README.md."""
    readme = folder / "README.md"
    made = f"{BEGIN}\n\n{table((folder / 'values.yaml').read_text(encoding='utf-8'))}\n{END}"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: made, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
