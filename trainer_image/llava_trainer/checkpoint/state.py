"""What training state is made of: pieces of flattened parameters, named so that any number of ranks can join them.

A rank under ZeRO owns an arbitrary stretch of a parameter; a Fragment says which one. Nothing here knows who cut it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["Fragment", "ReadSpan", "Slot", "Span"]


class Slot(StrEnum):
    """What is kept for every trainable element, always fp32."""

    MASTER = "master"
    EXP_AVG = "exp_avg"
    EXP_AVG_SQ = "exp_avg_sq"


@dataclass(frozen=True, slots=True)
class Span:
    """Elements start .. start + size of the flattened parameter `name`, in one slot."""

    slot: Slot
    name: str
    start: int
    size: int

    @property
    def key(self) -> str:
        """Its name in a file."""
        return f"{self.slot}|{self.start}|{self.name}"

    @classmethod
    def from_key(cls, key: str, size: int) -> Span:
        """The span that a key in a file names."""
        slot, start, name = key.split("|", 2)
        return cls(Slot(slot), name, int(start), size)


@dataclass(frozen=True, slots=True)
class Fragment:
    """A span with its values: values_N fp32 on the host, N = span.size."""

    span: Span
    values_N: torch.Tensor  # noqa: N815  (shapes are part of the name)


ReadSpan = Callable[[Span], "torch.Tensor"]
"""Gives the values of any span, fp32 on the host, however they were cut when they were saved."""
