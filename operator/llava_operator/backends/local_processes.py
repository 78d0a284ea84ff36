"""Which living processes belong to which local attempt, however they were started and whoever started them.

The kernel keeps every process's first environment, and each process of an attempt inherits the path of its result
file there. That finds ranks in sessions of their own and attempts that outlived `llava run`; no recycled id fits.
"""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from pathlib import Path
from typing import Final

__all__ = ["RESULT_FILE_ENV", "living_processes", "send_signal"]

RESULT_FILE_ENV: Final = "LLAVA_RESULT_FILE"
_PROC: Final = Path("/proc")


def living_processes(attempts: Path) -> dict[str, tuple[int, ...]]:
    """Map each child under this folder that has living processes to their ids; empty where there is no /proc."""
    found: dict[str, list[int]] = defaultdict(list)
    for pid in _other_pids():
        file = _result_file(pid)
        if file is not None and file.parent.parent == attempts:
            found[file.parent.name].append(pid)
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
