"""Operator processes of a test: started, stopped in their tracks, woken, and gone with the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Replica:
    """One `llava-operator`, in a namespace of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log_file: Path

    def freeze(self) -> None:
        """Let it do nothing, not even notice."""
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on as if no time had passed."""
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> int:
        """Ask it to leave and give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()

    def log(self) -> list[dict[str, Any]]:
        """Give its lines so far."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines() if line.endswith("}")]


def start_replica(
    name: str, namespace: str, *, folder: Path, beside: tuple[str, ...] = (), **environment: str
) -> Replica:
    """Start one that works in this namespace only, and in those `beside` it."""
    log_file = folder / f"{name}.log"
    namespaces = ",".join((namespace, *beside))
    command = [
        sys.executable, "-m", "llava_operator", "--namespaces", namespaces, "--own-namespace", namespace,
        "--identity", name, "--port", "0",
    ]  # fmt: skip
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, env={**os.environ, **environment})
    return Replica(name, process, log_file)
