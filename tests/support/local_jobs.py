"""A job file, a script for its trainer and a directory: everything that `llava run` needs, and what it left behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support import scripted_run
from support.jobs import SPEC

ROOT = Path(__file__).parents[1]
TRAINER = ROOT / "support" / "scripted_trainer.py"


@dataclass
class LocalJob:
    """One job of a test."""

    root: Path
    script: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.root / "job"

    def does(self, stage: str, *attempts: dict[str, Any]) -> LocalJob:
        """Say what the attempts of a stage do."""
        self.script[stage] = list(attempts)
        return self

    def hello(self) -> str:
        """Make a pipe in which an attempt says hello."""
        pipe = self.root / "hello"
        if not pipe.exists():
            os.mkfifo(pipe)
        return str(pipe)

    def await_hello(self) -> int:
        """Wait until the attempt is there; give its process id."""
        return int((self.root / "hello").read_text())

    def start(self, *flags: str, **spec: Any) -> subprocess.Popen[str]:
        """Start `llava run` as a process of its own, to send it signals."""
        command = [sys.executable, "-m", "support.scripted_run", *self._arguments(flags, spec)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *flags: str, **spec: Any) -> Ended:
        """Run it to its end."""
        return _ended(*self._arguments(flags, spec))

    def run_file(self, file: Path, folder: Path) -> Ended:
        """Run another job to its end, by the same script."""
        script = self.root / "script.json"
        script.write_text(json.dumps(self.script))
        return _ended(str(script), str(file), str(folder))

    def _arguments(self, flags: tuple[str, ...], spec: dict[str, Any]) -> list[str]:
        script, file = self.root / "script.json", self.root / "job.yaml"
        script.write_text(json.dumps(self.script))
        body = {"apiVersion": "llava.dev/v1alpha1", "kind": "LlavaTrainJob", "metadata": {"name": "demo"}}
        content = {key: value for key, value in {**SPEC, **spec}.items() if value is not None}
        file.write_text(yaml.safe_dump({**body, "spec": content}))
        return [str(script), str(file), str(self.folder), *flags]

    def status(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "job.json").read_text())["status"])

    def journal(self) -> list[dict[str, Any]]:
        """What attempts there were, in order."""
        return [json.loads(line) for line in (self.root / "script.journal").read_text().splitlines()]

    def attempts_of(self, stage: str) -> list[dict[str, Any]]:
        return [line for line in self.journal() if line["stage"] == stage]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def _ended(*arguments: str) -> Ended:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = scripted_run.main(*arguments)
    return Ended(code, out.getvalue(), err.getvalue())


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for a command."""
    out, err = process.communicate(timeout=60)
    return Ended(process.returncode, out, err)
