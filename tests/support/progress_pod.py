"""A pod of rank 0 as the operator meets it: a real HTTP server on loopback that says what the test wants."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from llava_contract.result import Progress
from llava_operator.progress import FirstPod
from support.jobs import NOON, UID


def told(step: int = 31, **changes: Any) -> Progress:
    """What finetune attempt 1 tells."""
    known: dict[str, Any] = {"stage": "finetune", "attempt": 1, "step": step, "total_steps": 90, "time": NOON}
    return Progress.model_validate(known | changes, by_name=True)


def first_pod(uid: str = "pod-0", *, ip: str = "127.0.0.1", port: int = 8081) -> FirstPod:
    return FirstPod(uid, ip, UID, "finetune", 1, port=port)


@contextmanager
def answering(code: int, body: bytes, **headers: str) -> Iterator[int]:
    """Serve one answer to every request for /progress; gives the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(code if self.path == "/progress" else 500)
            for name, value in {"Connection": "close", **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
