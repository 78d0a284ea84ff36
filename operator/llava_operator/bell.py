"""What wakes a loop before its next look: a process that ended, or a signal."""

from __future__ import annotations

import os
import select
from types import TracebackType

__all__ = ["Bell"]


class Bell:
    """Wait for a ring; safe to ring from other threads and from signal handlers, because a ring is a byte in a pipe."""

    def __init__(self) -> None:
        self._ears, self._button = os.pipe()
        os.set_blocking(self._button, False)
        os.set_blocking(self._ears, False)

    def ring(self) -> None:
        """End the wait that goes on, or else the next one."""
        try:
            os.write(self._button, b"!")
        except (BlockingIOError, OSError):
            # A full pipe rings already; a closed one has nobody waiting.
            return

    def wait(self, timeout_s: float) -> None:
        """Return at the first ring or after the timeout."""
        if select.select([self._ears], [], [], max(0.0, timeout_s))[0]:
            os.read(self._ears, 65_536)

    def __enter__(self) -> Bell:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ears, button, self._ears, self._button = self._ears, self._button, -1, -1
        os.close(ears)
        os.close(button)
