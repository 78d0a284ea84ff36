"""What really happened: scripted trainers in pods report here, wait here, and find their checkpoints here."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Name = tuple[str, str, int]
"""Job, stage and attempt."""


@dataclass(frozen=True)
class Entry:
    """One thing that one rank did: start, begin (from a step), step, commit, wait or end."""

    time: float
    kind: str
    job: str
    stage: str
    attempt: int
    rank: int
    said: dict[str, Any]

    @property
    def name(self) -> Name:
        return (self.job, self.stage, self.attempt)


@dataclass
class Journal:
    """All entries, in the order in which they came."""

    address: str = ""
    entries: list[Entry] = field(default_factory=list)
    _open: set[Name] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _is_closed: bool = False

    def of(self, job: str, kind: str, *, stage: str = "", attempt: int = 0) -> list[Entry]:
        """Entries of a job and kind; of one stage and attempt where they are named."""
        with self._changed:
            found = [entry for entry in self.entries if (entry.job, entry.kind) == (job, kind)]
        return [one for one in found if stage in ("", one.stage) and attempt in (0, one.attempt)]

    def starts(self, job: str) -> list[tuple[str, int, int]]:
        """Stage, attempt and rank of everything that began to run."""
        return sorted((entry.stage, entry.attempt, entry.rank) for entry in self.of(job, "start"))

    def begins_at(self, job: str, stage: str, attempt: int) -> int:
        """Step from which an attempt went on."""
        return int(self.of(job, "begin", stage=stage, attempt=attempt)[0].said["step"])

    def num_waiting(self, job: str, stage: str = "finetune", attempt: int = 1) -> int:
        """Ranks that came to where they wait."""
        return len(self.of(job, "wait", stage=stage, attempt=attempt))

    def let_go(self, job: str, stage: str = "finetune", attempt: int = 1) -> None:
        """Open the gate for those that wait, and for those to come."""
        with self._changed:
            self._open.add((job, stage, attempt))
            self._changed.notify_all()

    def take(self, said: dict[str, Any]) -> list[int]:
        """Write an entry down; answer with the commits of the stage, to who waits when its gate opens."""
        entry = Entry(
            time.time(), said["kind"], said["job"], said["stage"], said["attempt"], rank=said["rank"], said=said
        )
        with self._changed:
            self.entries.append(entry)
            if entry.kind == "wait":
                self._changed.wait_for(lambda: self._is_closed or entry.name in self._open)
            same = [one for one in self.entries if (one.said["uid"], one.stage) == (said["uid"], entry.stage)]
            return [int(one.said["step"]) for one in same if one.kind == "commit"]

    def close(self) -> None:
        """Let everybody go."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


@contextmanager
def journal_on(host: str) -> Iterator[Journal]:
    """Keep one at an address of this machine that pods reach; OSError when it is none."""
    journal = Journal()
    handler = type("Handler", (_Handler,), {"journal": journal})
    with _Server((host, 0), handler) as server:
        journal.address = f"http://{host}:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield journal
        finally:
            journal.close()
            server.shutdown()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # its heir asks DNS for a name, which may take long
        self.server_port = self.server_address[1]

    def handle_error(self, *_: Any) -> None:
        """Say nothing of a pod that was killed while it waited."""


class _Handler(BaseHTTPRequestHandler):
    journal: Journal

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps(self.journal.take(said)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: Any) -> None:
        """Stay quiet."""
