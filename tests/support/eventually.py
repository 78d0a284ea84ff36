"""Wait for a claim about another process to come true."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def eventually(
    claim: Callable[[], bool], *, within_s: float = 30.0, every_s: float = 0.05, saw: Callable[[], object] = str
) -> None:
    """Look again and again; a claim that stays false fails the test, with what `saw` gives then."""
    until = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < until, f"not true within {within_s:g} s {saw()}"
        threading.Event().wait(every_s)
