"""What the first pod of a gang tells over HTTP: `/progress`, the file as it is, and `/metrics`, for Prometheus.

Watching must never cost an attempt: whatever goes wrong here ends one answer, not the process.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from llava_contract.result import PROGRESS_PORT_ENV, PROGRESS_UID_HEADER, Progress
from llava_contract.run import JobRef

__all__ = ["metrics_text", "serve_progress", "serve_where_asked"]

_LOG: Final = logging.getLogger(__name__)
_SILENCE_S: Final = 10
"""How long a client may say nothing."""
_NOT_BEGUN: Final = b"The stage has not reported yet: ask again later.\n"

_GAUGES: Final[Mapping[str, tuple[str, Callable[[Progress], float | None]]]] = {
    "llava_step": ("Units of work that are done.", lambda told: told.step),
    "llava_steps": ("Units of work in all.", lambda told: told.total_steps),
    "llava_loss": ("Training loss of the latest step.", lambda told: told.loss),
    "llava_learning_rate": ("Learning rate of the latest step.", lambda told: told.learning_rate),
    "llava_grad_norm": ("Norm of the gradient of the latest step.", lambda told: told.grad_norm),
    "llava_samples_per_second": ("Samples a second over all ranks.", lambda told: told.samples_per_second),
    "llava_tokens_per_second": ("Tokens and patches a second over all ranks.", lambda told: told.tokens_per_second),
    "llava_memory_bytes": ("Most memory that a rank has held.", lambda told: told.memory_bytes),
    "llava_validation_loss": ("Latest loss of held-out rows.", lambda told: told.validation_loss),
    "llava_eta_seconds": ("Time that is left, at the present pace.", lambda told: told.eta_seconds),
    "llava_checkpoint_step": (
        "Optimizer steps in the newest committed checkpoint.",
        lambda told: told.checkpoint.step if told.checkpoint else None,
    ),
    "llava_progress_timestamp_seconds": (
        "When this was reported, in seconds since 1970.",
        lambda told: told.time.timestamp(),
    ),
}


def serve_where_asked(environment: Mapping[str, str], file: Path, *, job: JobRef) -> None:
    """Serve on LLAVA_PROGRESS_PORT until the process ends; without it, or where that cannot be, train unwatched."""
    port = environment.get(PROGRESS_PORT_ENV)
    if not port:
        return
    try:
        serve_progress(int(port), file, job=job)
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        _LOG.warning("progress cannot be served on port %s (%s): the operator will not see it", port, error)


def serve_progress(port: int, file: Path, *, job: JobRef) -> ThreadingHTTPServer:
    """Answer from threads until `shutdown`; 0 takes a free port. Raises OSError when the port is taken."""

    class Handler(_Handler):
        source = _Source(file, job)

    server = _listen(port, Handler)
    threading.Thread(target=server.serve_forever, name="progress", daemon=True).start()
    return server


def metrics_text(progress: Progress | None, job: JobRef) -> str:
    """Write what is known as Prometheus text; nothing is written of what is not known."""
    return "".join(_metric_lines(progress, job)) if progress else ""


def _metric_lines(progress: Progress, job: JobRef) -> Iterator[str]:
    # `job` and `namespace` are names that Prometheus itself gives to what it scrapes.
    said = {
        "job_namespace": job.namespace,
        "job_name": job.name,
        "stage": progress.stage,
        "attempt": str(progress.attempt),
    }
    labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in said.items())
    for name, (text, read) in _GAUGES.items():
        if (value := read(progress)) is not None:
            yield f"# HELP {name} {text}\n# TYPE {name} gauge\n{name}{{{labels}}} {float(value)!r}\n"
    if progress.source_losses:
        yield "# HELP llava_source_loss Latest training loss of each source.\n# TYPE llava_source_loss gauge\n"
    for source, loss in progress.source_losses.items():
        yield f'llava_source_loss{{{labels},source="{_escaped(source)}"}} {float(loss)!r}\n'


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


@dataclass(frozen=True, slots=True)
class _Source:
    """The file that rank 0 replaces whole, and whose it is."""

    file: Path
    job: JobRef

    def progress(self) -> bytes | None:
        """The file's bytes; None before the first report."""
        try:
            return self.file.read_bytes()
        except FileNotFoundError:
            return None

    def metrics(self) -> bytes:
        """The same in Prometheus' format; nothing before the first report."""
        told = self.progress()
        return metrics_text(Progress.model_validate_json(told) if told else None, self.job).encode()


class _Handler(BaseHTTPRequestHandler):
    """Two pages."""

    source: _Source
    timeout = _SILENCE_S
    protocol_version = "HTTP/1.1"  # what proxies of a service mesh speak to us; each answer still ends its connection

    def do_GET(self) -> None:
        """Answer one request."""
        page = self.path.partition("?")[0]
        try:
            if page == "/progress":
                told = self.source.progress()
                self._answer(404 if told is None else 200, told or _NOT_BEGUN, is_json=told is not None)
            elif page == "/metrics":
                self._answer(200, self.source.metrics())
            else:
                self._answer(404, b"/progress and /metrics are here.\n")
        except (OSError, ValidationError) as error:
            self._answer(503, f"The progress cannot be read: {type(error).__name__}.\n".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's own names
        """Leave readers out of the log."""

    def _answer(self, code: int, body: bytes, *, is_json: bool = False) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json" if is_json else "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header(PROGRESS_UID_HEADER, self.source.job.uid)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    """Names no host: asking DNS for our own name can take longer than a stage."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Take the port, on both families where one socket can have them."""
        if self.address_family is socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "", int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away."""


class _ServerOfBoth(_Server):
    address_family = socket.AF_INET6


def _listen(port: int, handler: type[BaseHTTPRequestHandler]) -> _Server:
    try:
        return _ServerOfBoth(("", port), handler)
    except OSError:
        # A machine without IPv6; a port that is taken is taken in both.
        return _Server(("", port), handler)
