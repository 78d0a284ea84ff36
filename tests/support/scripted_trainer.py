"""A trainer that obeys the process contract and trains nothing: `scripted_trainer.py SCRIPT.json RUN.json`.

The script says what each attempt of a stage does; without a word it succeeds. Only the standard library, so that it
starts in a moment.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ARTIFACTS = {
    "prepare": ("pretrainData", "finetuneData", "audit"),
    "pretrain": ("pretrainWeights",),
    "finetune": ("finetuneWeights",),
    "convert": ("huggingface",),
    "evaluate": ("scores", "report"),
}
SCORES = {f"shapes/{rule}/{kind}": 0.9 for rule in ("xtuner", "vlmevalkit") for kind in ("circular", "vanilla")}
ORPHAN = "import signal; signal.pause()"


@dataclass(frozen=True)
class Words:
    """What an attempt says, in the contract's shapes."""

    run: dict[str, Any]
    """The run file."""
    does: dict[str, Any]
    """The attempt's part of the script."""

    @property
    def names(self) -> dict[str, Any]:
        return {"stage": self.run["stage"], "attempt": self.run["attempt"]}

    def progress(self, step: int, total_steps: int, *, checkpoint: dict[str, Any] | None) -> dict[str, Any]:
        numbers = {"step": step, "totalSteps": total_steps, "loss": 0.5, "etaSeconds": 7800.0}
        return {**self.names, **numbers, "checkpoint": checkpoint, "time": datetime.now(UTC).isoformat()}

    def result(self, code: int, *, checkpoint: dict[str, Any] | None) -> dict[str, Any]:
        stage, storage = self.run["stage"], self.run["storage"]["uri"]
        made = {} if code else {name: f"{storage}/{name}" for name in ARTIFACTS[stage]}
        return {
            **self.names,
            "exitCode": code,
            "reason": "scripted",
            "message": self.does.get("message", ""),
            "checkpoint": checkpoint,
            "artifacts": made,
            "results": SCORES if stage == "evaluate" and not code else {},
            "seconds": {"import": 0.1, "work": 0.2},
        }


class Attempt:
    """One attempt, from its run file to its exit code."""

    def __init__(self, script_file: Path, run_file: Path) -> None:
        script = json.loads(script_file.read_text())
        self.run = json.loads(run_file.read_text())
        self.journal = script_file.with_suffix(".journal")
        self.does = part_of(script, self.run)
        self.words = Words(self.run, self.does)

    def perform(self) -> int:
        alive = self.journal.with_suffix(".alive").open("a")
        self.note(is_alone=is_free(alive))
        if self.does.get("is_stubborn"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        else:
            signal.signal(signal.SIGTERM, lambda *_: self.leave(143))
        if self.does.get("leaves_orphan"):
            subprocess.Popen([sys.executable, "-c", ORPHAN], start_new_session=True)
        write(Path(os.environ["LLAVA_PROGRESS_FILE"]), self.words.progress(3, 9, checkpoint=self.checkpoint()))
        if "hello" in self.does:
            Path(self.does["hello"]).write_text(f"{os.getpid()}\n")
        while self.does.get("blocks"):
            signal.pause()
        if self.does.get("kills_itself"):
            os.kill(os.getpid(), signal.SIGKILL)
        self.leave(self.does.get("exit", 0))
        return 0

    def leave(self, code: int) -> None:
        if not self.does.get("is_silent"):
            write(Path(os.environ["LLAVA_RESULT_FILE"]), self.words.result(code, checkpoint=self.checkpoint()))
        os._exit(code)

    def note(self, *, is_alone: bool) -> None:
        commit = self.run["lastCommit"]
        line = {
            **self.words.names,
            "pid": os.getpid(),
            "commit": commit and commit["step"],
            "is_alone": is_alone,
            "environment": dict(os.environ),
        }
        with self.journal.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def checkpoint(self) -> dict[str, Any] | None:
        step = self.does.get("commit")
        return step and {"uri": f"/checkpoints/step-{step}", "step": step, "manifestSha256": "0" * 64}


def part_of(script: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Find what the script says about the attempt of a run file."""
    said: list[dict[str, Any]] = script.get(run["stage"], [])
    return said[run["attempt"] - 1] if len(said) >= run["attempt"] else {}


def write(file: Path, content: dict[str, Any]) -> None:
    """Replace a file as a whole."""
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(content))
    draft.replace(file)


def is_free(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(Attempt(Path(sys.argv[1]), Path(sys.argv[2])).perform())
