"""A rank without progress ends itself with the code of a hang and shows its stacks."""

from __future__ import annotations

import subprocess
import sys

HANGS = """
import threading
from llava_trainer.engine.watchdog import Watchdog
def stuck_here(): threading.Event().wait(60)
with Watchdog(0.2): stuck_here()
"""
WORKS = """
import threading
from llava_trainer.engine.watchdog import Watchdog
with Watchdog(5) as watchdog:
    for _ in range(3): watchdog.beat()
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)


def test_a_hang_ends_with_74_and_stacks() -> None:
    done = run(HANGS)
    assert done.returncode == 74
    assert "stuck_here" in done.stderr


def test_progress_keeps_the_watchdog_quiet() -> None:
    assert run(WORKS).returncode == 0
