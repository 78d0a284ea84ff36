"""Which living processes belong to which local attempt, however they were started and whoever started them.

The kernel keeps every process's first environment, and each process of an attempt inherits the path of its result
file there. That finds ranks in sessions of their own and attempts that outlived `llava run`; no recycled id fits.
"""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llava_contract.result import RESULT_FILE_ENV

__all__ = ["ProcessWatch", "send_signal"]

_PROC: Final = Path("/proc")
_STATE, _START_TIME = 0, 19
"""Places in /proc/<pid>/stat, counted after the command's name."""
_DEAD: Final = ("Z", "X")


@dataclass(frozen=True)
class Process:
    """A process that no recycled id can be taken for."""

    pid: int
    start_ticks: str
    """When it started, in the kernel's ticks since boot."""


class ProcessWatch:
    """The living processes below a folder of attempts."""

    def __init__(self, attempts: Path) -> None:
        self._attempts = attempts
        self._known: dict[Process, str] = {}

    def living(self) -> dict[str, tuple[int, ...]]:
        """Map each child that has living processes to their ids; empty where there is no /proc.

        A process that ends gives up its environment before its files and its memory on devices: whoever was once
        seen is watched until it is really gone.
        """
        for pid in _other_pids():
            file = _result_file(pid)
            if file is not None and file.parent.parent == self._attempts and (stat := _stat(pid)):
                self._known[Process(pid, stat[_START_TIME])] = file.parent.name
        self._known = {process: child for process, child in self._known.items() if _is_alive(process)}
        found: dict[str, list[int]] = defaultdict(list)
        for process, child in self._known.items():
            found[child].append(process.pid)
        return {child: tuple(sorted(pids)) for child, pids in found.items()}


def send_signal(pids: tuple[int, ...], number: signal.Signals) -> None:
    """Send a signal to those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _other_pids() -> list[int]:
    if not _PROC.is_dir():
        return []
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()]


def _result_file(pid: int) -> Path | None:
    """Read the variable; a process that ended, or is somebody else's, has none."""
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    name = f"{RESULT_FILE_ENV}=".encode()
    value = next((entry[len(name) :] for entry in environment.split(b"\0") if entry.startswith(name)), None)
    return Path(os.fsdecode(value)) if value else None


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _is_alive(process: Process) -> bool:
    stat = _stat(process.pid)
    return stat is not None and stat[_START_TIME] == process.start_ticks and stat[_STATE] not in _DEAD
