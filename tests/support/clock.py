"""A monotonic clock that moves when the test says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Clock:
    """Seconds since some start."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now
