"""A trainer image that obeys the process contract and trains nothing: `scripted_pod.py RUN.json` in a container.

Like the real one it is a launcher and a rank. TRAINER_SCRIPT says in JSON what each attempt of a stage does, as in
`{"journal": "http://host:port", "finetune": [{"waits": 3}, {"exit": 75, "rank": 1}]}`; without a word it succeeds.
The journal is told what happens and keeps the checkpoints, as storage would. Only the standard library.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import socketserver
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from scripted_trainer import Words, part_of, write

FIELDS = {
    "version", "job", "stage", "attempt", "numRanks", "storage", "hangTimeoutSeconds", "lastCommit",
    "resumeBeforeStep", "task",
}  # fmt: skip
INVALID_SPEC, CORRUPT_STATE = 10, 19
REASONS = {0: "Succeeded", INVALID_SPEC: "InvalidSpec", CORRUPT_STATE: "CorruptState", 137: "Killed", 143: "Terminated"}
TERMINATION_LOG = Path("/dev/termination-log")


@dataclass
class Journal:
    """Whoever keeps the truth, as an attempt reaches it; nobody where the script names none."""

    address: str | None
    about: dict[str, Any]
    commits: list[int] = field(default_factory=list)

    def tell(self, kind: str, **what: Any) -> Any:
        """Report what happens; the answer comes when the keeper wants it to."""
        if self.address is None:
            self.commits += [what["step"]] if kind == "commit" else []
            return self.commits
        connection = HTTPConnection(self.address.removeprefix("http://"), timeout=600)
        connection.request("POST", "/", json.dumps({**self.about, "kind": kind, **what}))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer


NOBODY = {"stage": "unknown", "attempt": 0, "job": {"name": "", "uid": ""}, "storage": {"uri": ""}}


def read_run_file(file: Path) -> tuple[dict[str, Any], str]:
    """Read it; gives a sentence too when it is none."""
    try:
        run = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        return NOBODY, f"{file}: the run file cannot be read ({error}); give the path of a RunConfig."
    wrong = sorted(set(run) ^ FIELDS)
    return (NOBODY, f"{file}: {wrong[0]}: is missing or not known; correct this field.") if wrong else (run, "")


class Attempt:
    """One pod's part of an attempt, from its run file to its exit code."""

    def __init__(self, run_file: Path) -> None:
        self.run, self.refusal = read_run_file(run_file)
        script = json.loads(os.environ.get("TRAINER_SCRIPT", "{}"))
        self.does = {} if self.refusal else part_of(script, self.run)
        self.node_rank = int(os.environ.get("PET_NODE_RANK", "0"))
        job = self.run["job"]
        names = {"job": job["name"], "uid": job["uid"], "stage": self.run["stage"], "attempt": self.run["attempt"]}
        about = {**names, "rank": self.node_rank, "pod": socket.gethostname()}
        self.journal = Journal(script.get("journal"), about)
        private = Path(tempfile.mkdtemp(prefix="llava-scripted-"))
        self.progress_file = Path(os.environ.get("LLAVA_PROGRESS_FILE", private / "progress.json"))
        self.refusal_file = private / "refusal"
        self.step = 0

    @property
    def is_training(self) -> bool:
        return bool(self.run["task"]["kind"] == "train")

    @property
    def num_steps(self) -> int:
        return int(self.does.get("steps", 4))

    @cached_property
    def words(self) -> Words:
        return Words(self.run, self.does)

    # The launcher

    def perform(self) -> int:
        """Start the rank, hand signals on, and say how it ended."""
        asked = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, asked)
        self.refusal = self.refusal or self.mismatch()
        rank = 0 if self.refusal else self.start_rank()
        signal.signal(signal.SIGTERM, lambda *_: os.kill(rank, signal.SIGTERM) if rank else None)
        signal.signal(signal.SIGHUP, lambda *_: os.kill(rank, signal.SIGTERM) if rank else None)
        signal.signal(signal.SIGINT, lambda *_: os.kill(rank, signal.SIGINT) if rank else None)
        self.serve_progress()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, asked)
        code = os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) if rank else INVALID_SPEC
        code = 128 - code if code < 0 else code
        if rank:
            self.journal.tell("end", code=code)
        self.publish(code)
        return code

    def mismatch(self) -> str:
        num_nodes, per_node = (os.environ.get(name, "") for name in ("PET_NNODES", "PET_NPROC_PER_NODE"))
        if not per_node.isdigit() or int(num_nodes or 1) * int(per_node) == self.run["numRanks"]:
            return ""
        return f"numRanks is {self.run['numRanks']}, but there are {num_nodes or 1} x {per_node}; make them agree."

    def start_rank(self) -> int:
        if rank := os.fork():
            return rank
        signal.signal(signal.SIGTERM, lambda *_: self.leave_early(143))
        signal.signal(signal.SIGHUP, lambda *_: self.leave_early(143))
        signal.signal(signal.SIGINT, lambda *_: self.leave_early(130))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
        os._exit(self.work())

    def serve_progress(self) -> None:
        """Serve it where the real launcher does."""
        port = os.environ.get("LLAVA_PROGRESS_PORT")
        if port is None or self.node_rank:
            return
        handler = type("Handler", (ProgressHandler,), {"file": self.progress_file, "uid": self.run["job"]["uid"]})
        server = ProgressServer(("", int(port)), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def publish(self, code: int) -> None:
        named = os.environ.get("LLAVA_RESULT_FILE")
        if self.does.get("is_silent") or (not named and not TERMINATION_LOG.exists()):
            return
        told = json.loads(self.progress_file.read_bytes()) if self.progress_file.exists() else {}
        result = self.words.result(code, checkpoint=told.get("checkpoint"))
        refusal = self.refusal or (self.refusal_file.read_text() if self.refusal_file.exists() else "")
        result["message"] = result["message"] or refusal
        result["reason"] = REASONS.get(code, result["reason"])
        result |= {name: told[name] for name in ("step", "totalSteps") if name in told}
        # A container's message is written in place: it is a mount.
        Path(named or TERMINATION_LOG).write_text(json.dumps(result))

    # The rank

    def work(self) -> int:
        """Do the stage's steps; gives the exit code."""
        commits = self.journal.tell("start", pid=os.getpid(), run=self.run)
        if self.is_training:
            self.step = self.resumed_at(commits)
        self.journal.tell("begin", step=self.step)
        checkpoint = self.reference(self.step) if self.step else None
        self.report(checkpoint)
        is_mine = self.does.get("rank", self.node_rank) == self.node_rank
        while self.step < min(self.num_steps, self.does.get("at", self.num_steps)):
            if self.step == self.does.get("waits"):
                self.journal.tell("wait", step=self.step)
            time.sleep(self.does.get("paces", 0.01))
            self.step += 1
            if self.is_training and self.step % self.does.get("saves", 2) == 0:
                checkpoint = self.commit()
            self.report(checkpoint)
        while not is_mine:  # a collective waits for the peer that left
            signal.pause()
        return int(self.does.get("exit", 0))

    def resumed_at(self, commits: list[int]) -> int:
        """Take the newest checkpoint that may be taken; a known one that is nowhere is a loss."""
        known, before = self.run["lastCommit"], self.run["resumeBeforeStep"]
        usable = [step for step in commits if before is None or step < before]
        if known and before is None and known["step"] > max(usable, default=0):
            self.refusal_file.write_text(f"{known['uri']}: was committed and is gone; restore it.")
            os._exit(CORRUPT_STATE)
        return max(usable, default=0)

    def leave_early(self, code: int) -> None:
        """Save as a trainer that was asked to leave does."""
        if self.is_training and self.step:
            self.report(self.commit())
        os._exit(code)

    def commit(self) -> dict[str, Any]:
        if self.node_rank == 0:
            self.journal.tell("commit", step=self.step)
        return self.reference(self.step)

    def reference(self, step: int) -> dict[str, Any]:
        uri = f"{self.run['storage']['uri']}/checkpoints/{self.run['stage']}/step-{step}"
        return {"uri": uri, "step": step, "manifestSha256": hashlib.sha256(uri.encode()).hexdigest()}

    def report(self, checkpoint: dict[str, Any] | None) -> None:
        if self.node_rank == 0:
            self.journal.tell("step", step=self.step)  # before anybody else can know
            write(self.progress_file, self.words.progress(self.step, self.num_steps, checkpoint=checkpoint))


class ProgressServer(ThreadingHTTPServer):
    """A server that asks no DNS for its own name."""

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)


class ProgressHandler(BaseHTTPRequestHandler):
    """Serves the progress file."""

    file: Path
    uid: str

    def do_GET(self) -> None:
        is_there = self.path == "/progress" and self.file.exists()
        self.send_response(200 if is_there else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Llava-Job-Uid", self.uid)
        self.end_headers()
        self.wfile.write(self.file.read_bytes() if is_there else b"")

    def log_message(self, *args: Any) -> None:
        """Stay quiet."""


if __name__ == "__main__":
    sys.exit(Attempt(Path(sys.argv[1])).perform())
