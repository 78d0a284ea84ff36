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


class Attempt:
    """One attempt, from its run file to its exit code."""

    def __init__(self, script_file: Path, run_file: Path) -> None:
        script = json.loads(script_file.read_text())
        self.run = json.loads(run_file.read_text())
        self.journal = script_file.with_suffix(".journal")
        said = script.get(self.run["stage"], [])
        self.does: dict[str, Any] = said[self.run["attempt"] - 1] if len(said) >= self.run["attempt"] else {}

    def perform(self) -> int:
        alive = self.journal.with_suffix(".alive").open("a")
        self.note(is_alone=is_free(alive))
        if self.does.get("is_stubborn"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        else:
            signal.signal(signal.SIGTERM, lambda *_: self.leave(143))
        if self.does.get("leaves_orphan"):
            subprocess.Popen([sys.executable, "-c", ORPHAN], start_new_session=True)
        self.write("LLAVA_PROGRESS_FILE", self.progress())
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
            self.write("LLAVA_RESULT_FILE", self.result(code))
        os._exit(code)

    def note(self, *, is_alone: bool) -> None:
        commit = self.run["lastCommit"]
        line = {
            "stage": self.run["stage"],
            "attempt": self.run["attempt"],
            "pid": os.getpid(),
            "commit": commit and commit["step"],
            "is_alone": is_alone,
            "environment": dict(os.environ),
        }
        with self.journal.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def progress(self) -> dict[str, Any]:
        names = {"stage": self.run["stage"], "attempt": self.run["attempt"]}
        numbers = {"step": 3, "totalSteps": 9, "loss": 0.5, "etaSeconds": 7800.0}
        return {**names, **numbers, "checkpoint": self.checkpoint(), "time": datetime.now(UTC).isoformat()}

    def result(self, code: int) -> dict[str, Any]:
        stage, storage = self.run["stage"], self.run["storage"]["uri"]
        made = {} if code else {name: f"{storage}/{name}" for name in ARTIFACTS[stage]}
        return {
            "stage": stage,
            "attempt": self.run["attempt"],
            "exitCode": code,
            "reason": "scripted",
            "message": self.does.get("message", ""),
            "checkpoint": self.checkpoint(),
            "artifacts": made,
            "results": SCORES if stage == "evaluate" and not code else {},
            "seconds": {"import": 0.1, "work": 0.2},
        }

    def checkpoint(self) -> dict[str, Any] | None:
        step = self.does.get("commit")
        return step and {"uri": f"/checkpoints/step-{step}", "step": step, "manifestSha256": "0" * 64}

    def write(self, variable: str, content: dict[str, Any]) -> None:
        file = Path(os.environ[variable])
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
