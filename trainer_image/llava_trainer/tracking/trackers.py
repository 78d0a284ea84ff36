"""Whoever else wants the numbers of a training: told on a thread of their own, so that none can slow or stop a step.

A tracker that fails is left out for the rest of the attempt, with one warning: numbers are in the job's own history.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import Final, Protocol

__all__ = ["Opener", "Tracker", "Trackers"]

_LOG: Final = logging.getLogger(__name__)
_FAREWELL_S: Final = 20.0
"""A server that does not answer must not keep a gang from leaving."""


class Tracker(Protocol):
    """One place that keeps curves."""

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Note what step `step`, from 1, measured."""
        ...

    def flush(self) -> None:
        """Bring what was noted to where others see it."""
        ...

    def close(self) -> None:
        """Flush, and say that this attempt is over."""
        ...


Opener = Callable[[], Tracker]
"""Connects; may raise whatever its library raises."""
_Act = Callable[[Tracker], None]


@dataclass
class Trackers:
    """All trackers of one attempt; nothing here raises or waits, but `close` for a moment."""

    openers: Mapping[str, Opener]
    """By the name that a warning says."""
    farewell_s: float = _FAREWELL_S
    _open: dict[str, Tracker] = field(default_factory=dict, init=False)
    _acts: SimpleQueue[_Act | None] = field(default_factory=SimpleQueue, init=False)
    _thread: Thread = field(init=False)

    def __post_init__(self) -> None:
        # A daemon: the interpreter waits for no server either.
        self._thread = Thread(target=self._work, name="trackers", daemon=True)
        self._thread.start()

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Tell everybody of a step."""
        self._acts.put(lambda tracker: tracker.add(step, scalars))

    def flush(self) -> None:
        """Have everybody show what they were told."""
        self._acts.put(lambda tracker: tracker.flush())

    def close(self) -> None:
        """Take leave; who does not answer within 20 s is left behind."""
        self._acts.put(lambda tracker: tracker.close())
        self._acts.put(None)
        self._thread.join(self.farewell_s)
        if self._thread.is_alive():
            _LOG.warning("%s did not take the last numbers within %g s", " or ".join(self.openers), self.farewell_s)

    def _work(self) -> None:
        self._connect()
        while (act := self._acts.get()) is not None:
            self._each(act)

    def _connect(self) -> None:
        for name, opener in self.openers.items():
            try:
                self._open[name] = opener()
            except Exception as error:  # noqa: BLE001  no tracker may stop a training
                _warn(name, error)

    def _each(self, act: _Act) -> None:
        for name, tracker in list(self._open.items()):
            try:
                act(tracker)
            except Exception as error:  # noqa: BLE001  no tracker may stop a training
                del self._open[name]
                _warn(name, error)


def _warn(name: str, error: Exception) -> None:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    _LOG.warning("%s takes no numbers (%s); training goes on without it", name, reason)
