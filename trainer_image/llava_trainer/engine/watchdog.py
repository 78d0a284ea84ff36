"""When a rank without progress is given up: it shows where every thread stands and ends with the code of a hang."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from types import TracebackType
from typing import Self

from llava_contract import causes

__all__ = ["Watchdog"]


class Watchdog:
    """Ends this process when nobody calls `beat` for `timeout_s` seconds; a thread of its own watches.

    Each rank has one: a hang is often one rank's, and only its own stacks show it.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._beaten_at = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def beat(self) -> None:
        """Say that something was finished."""
        self._beaten_at = time.monotonic()

    def __enter__(self) -> Self:
        self.beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while (left_s := self._beaten_at + self._timeout_s - time.monotonic()) > 0:
            if self._done.wait(left_s):
                return
        logging.getLogger(__name__).error("no progress for %.0f seconds; the stacks of all threads:", self._timeout_s)
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        os._exit(causes.HANG.exit_code)
