"""kubectl as users run it, in one namespace."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Kubectl:
    """The program, with the cluster that KUBECONFIG names."""

    namespace: str

    def __call__(self, *words: str, said: str | None = None) -> str:
        """Run a command that has to succeed; gives what it prints."""
        done = self.tried(*words, said=said)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def tried(self, *words: str, said: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail; `said` is its standard input."""
        return subprocess.run(
            self._command(*words), input=said, capture_output=True, text=True, check=False, timeout=1000
        )

    def json(self, *words: str) -> Any:
        """Run a command that prints an object."""
        return json.loads(self(*words, "--output=json"))

    def wait(self, what: str, condition: str, *, within_s: int) -> None:
        """Wait as a script of a user would."""
        self("wait", f"--for=condition={condition}", what, f"--timeout={within_s}s")

    @contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[str]:
        """Reach a port of a pod or Service; gives the local host:port."""
        command = self._command("port-forward", target, f":{port}")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                assert process.stdout is not None
                first = process.stdout.readline()
                found = re.search(r"Forwarding from (127\.0\.0\.1:\d+)", first)
                assert found, f"kubectl port-forward {target}: {first}"
                yield found[1]
            finally:
                process.kill()

    def _command(self, *words: str) -> list[str]:
        program = shutil.which("kubectl")
        if program is None:
            pytest.skip("kubectl is not on the PATH")
        return [program, "--namespace", self.namespace, *words]
