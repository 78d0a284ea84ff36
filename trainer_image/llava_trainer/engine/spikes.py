"""When a loss has left its course: far above it, several steps in a row, which noise does not do.

Every rank sees the same losses, so every rank says the same at the same step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

__all__ = ["Spike", "SpikeWatch"]

_COURSE: Final = 100
"""Steps whose losses are the course; higher ones never become part of it."""
_LEAST: Final = 20
"""Before so many steps nothing is said: a loss has no course yet."""
_IN_A_ROW: Final = 5
_DEVIATIONS: Final = 9
"""Six standard deviations of normal noise; single short rows scatter so far with a chance of 1 in 150."""


@dataclass(frozen=True, slots=True)
class Spike:
    """A loss that left its course: `step`, from 0, was the first; `rows` are those of this rank's batch at it."""

    step: int
    loss: float
    course: float
    rows: tuple[str, ...]


@dataclass
class SpikeWatch:
    """Looks at one loss after another."""

    _course: deque[float] = field(default_factory=lambda: deque(maxlen=_COURSE), init=False)
    _high: list[Spike] = field(default_factory=list, init=False)

    @classmethod
    def resume(cls, losses: Iterable[float], *, first_step: int = 0) -> SpikeWatch:
        """Go on after the losses of earlier attempts, whose rows nobody remembers."""
        watch = cls()
        for step, loss in enumerate(losses, start=first_step):
            watch.add(step, loss, ())
        return watch

    def add(self, step: int, loss: float, rows: Sequence[str]) -> Spike | None:
        """Take the loss of a step; gives where the spike began once five steps in a row were high.

        High is above twice the course's median plus 1, and further above it than nine median deviations.
        """
        if len(self._course) < _LEAST or loss <= self._ceiling():
            self._course.append(loss)
            self._high.clear()
            return None
        self._high.append(Spike(step, loss, median(self._course), tuple(rows)))
        return self._high[0] if len(self._high) >= _IN_A_ROW else None

    def _ceiling(self) -> float:
        middle = median(self._course)
        deviation = median(abs(loss - middle) for loss in self._course)
        return max(2 * middle + 1, middle + _DEVIATIONS * deviation)
