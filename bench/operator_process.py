"""The operator under test as a process of this machine, and what the kernel and its own pages say about it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Operator"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_RESTING_S: Final = 0.1
"""CPU in two seconds: the lease takes less."""
_REQUEST: Final = re.compile(r'llava_operator_api_requests_total\{kind="([^"]*)",verb="([^"]*)"\} (\S+)')


@dataclass(frozen=True)
class Operator:
    """One replica with all its threads."""

    process: subprocess.Popen[bytes]
    log_file: Path

    @classmethod
    def start(cls, namespace: str, log_file: Path) -> Operator:
        """Start one that works in this namespace only."""
        command = [
            sys.executable, "-m", "llava_operator", "--namespaces", namespace, "--own-namespace", namespace,
            "--port", "0",
        ]  # fmt: skip
        with log_file.open("wb") as log:
            return cls(subprocess.Popen(command, stdout=log, stderr=log), log_file)  # noqa: S603  our own command

    def wait_until(self, message: str, *, within_s: int = 120) -> None:
        """Wait for a line of its log."""
        for _ in range(within_s * 10):
            if any(line.get("message") == message for line in self._lines()):
                return
            if self.process.poll() is not None:
                raise RuntimeError(f"the operator left: {self.log_file.read_text()[-2000:]}")
            threading.Event().wait(0.1)
        raise RuntimeError(f"the operator never said {message!r}: see {self.log_file}")

    def rest(self, *, within_s: int = 60) -> None:
        """Wait until it has next to nothing to do, or for so long."""
        for _ in range(within_s // 2):
            before_s = self.cpu_s()
            threading.Event().wait(2)
            if self.cpu_s() - before_s < _RESTING_S:
                return

    def end(self) -> int:
        """Ask it to leave and give its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()

    def memory_mib(self) -> tuple[float, float]:
        """Give its resident memory, now and at its highest."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kib = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", status))
        return int(kib["VmRSS"]) / 1024, int(kib["VmHWM"]) / 1024

    def cpu_s(self) -> float:
        """Give the CPU seconds that its threads have used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def requests(self) -> Counter[tuple[str, str]]:
        """Count its requests to the API server so far, by verb and kind."""
        port = next(line["port"] for line in self._lines() if line.get("message") == "started")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            page = answer.read().decode()
        return Counter({(verb, kind): int(float(count)) for kind, verb, count in _REQUEST.findall(page)})

    def complaints(self) -> str:
        """Say how often it warned and failed, and the last sentence of either."""
        told = [line for line in self._lines() if line.get("level") in ("warning", "error")]
        num_errors = sum(line["level"] == "error" for line in told)
        last = f": {told[-1]['message']}" if told else ""
        return f"{len(told) - num_errors} warnings, {num_errors} errors{last}"

    def _lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log_file.read_text().splitlines() if line.endswith("}")]
