"""Wait for a claim about another process to come true."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def eventually(claim: Callable[[], bool], *, within_s: float = 30.0, every_s: float = 0.05) -> None:
    """Look again and again; a claim that stays false fails the test."""
    until = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < until, f"not true within {within_s:g} s"
        threading.Event().wait(every_s)
