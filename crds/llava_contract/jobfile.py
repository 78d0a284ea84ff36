"""How a job file is read: YAML as kubectl reads it, duplicate keys refused, and the line on which each field stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from llava_contract.problems import InvalidJob, MissingJobFile, Problem

__all__ = ["Document", "FieldPath", "read_documents", "spell"]

FieldPath = tuple[str | int, ...]
"""Keys and list indices from the document's root to a field."""

_RESOLVED_OURSELVES: Final = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float", "tag:yaml.org,2002:int")


MAX_DEPTH: Final = 50
MAX_FIELDS: Final = 100_000


@dataclass(frozen=True)
class Document:
    """One YAML document; nulls are left out, as the API server drops them."""

    body: Any
    lines: dict[FieldPath, int]
    duplicates: list[Problem] = field(default_factory=list)

    def line(self, path: FieldPath) -> int | None:
        """The line of a field, or of the nearest field around it that is written."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


class _JobLoader(yaml.SafeLoader):
    """Numbers as Go reads them: 1e-3 is a number, 1:30 is not, and a date stays a string."""


_JobLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _RESOLVED_OURSELVES]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_JobLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(0|[1-9][0-9_]*|0[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+)$"),
    list("-+0123456789"),
)
_JobLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^([-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
    list("-+0123456789."),
)


def read_documents(path: Path) -> list[Document]:
    """The documents of a file in order, empty ones left out.

    Raises MissingJobFile when there is no file to read, and InvalidJob when it is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidJob([Problem("", f"not UTF-8 text (byte {error.start})")], str(path)) from error
    except OSError as error:
        raise MissingJobFile(path, error.strerror or str(error)) from error
    try:
        return list(_documents(text))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise InvalidJob([Problem("", f"not YAML: {error.problem}", line)], str(path)) from error
    except yaml.YAMLError as error:
        raise InvalidJob([Problem("", f"not YAML: {error}")], str(path)) from error


def _documents(text: str) -> Iterator[Document]:
    loader = _JobLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None, "check_node() saw a document"
            lines: dict[FieldPath, int] = {}
            duplicates = list(_index(node, (), lines))
            body = _without_nulls(loader.construct_document(node))
            if body is not None:
                yield Document(body, lines, duplicates)
    finally:
        loader.dispose()


def _index(node: yaml.Node, path: FieldPath, lines: dict[FieldPath, int]) -> Iterator[Problem]:
    """Note the line of every field below a node, and tell each key that is written twice."""
    if len(path) > MAX_DEPTH or len(lines) > MAX_FIELDS:  # an alias of itself, or aliases of aliases of aliases
        raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH} levels, or more than {MAX_FIELDS:,} fields")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            line = key.start_mark.line + 1
            if inner in lines:
                yield Problem(spell(inner), f"written twice, first on line {lines[inner]}", line)
            lines[inner] = line
            yield from _index(value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            yield from _index(value, (*path, index), lines)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def spell(path: FieldPath) -> str:
    """A path as the API server writes it: spec.pretrain.data[0].annotations."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
