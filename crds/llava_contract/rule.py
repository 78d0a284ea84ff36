"""The noun Rule: one claim about a model in two languages, and the field to change where it does not hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Rule"]


@dataclass(frozen=True)
class Rule:
    """One claim about a model; `path` leads from the model to the field that the user has to change."""

    name: str
    cel: str
    holds: Callable[[Any], bool]
    message: str
    path: tuple[str, ...] = ()
