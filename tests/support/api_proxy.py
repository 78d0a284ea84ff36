"""An API server seen through a bad network: lists can be held back, watches cut, their history declared lost.

Writes pass through it too, and whoever writes can be killed just before or just after.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

GONE = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}


@dataclass
class Faults:
    """What goes wrong, by the plural of a kind."""

    listing: dict[str, threading.Event] = field(default_factory=dict)
    """Lists of these kinds wait for the event."""
    gap: dict[str, threading.Event] = field(default_factory=dict)
    """Watches of these kinds are cut; new ones wait for the event and are then told that history is gone."""
    num_lists: dict[str, int] = field(default_factory=dict)
    """Lists answered so far."""
    lets_through: Callable[[str], bool] = lambda _: True
    """Asked before each write, such as "POST /api/v1/..."."""
    was_written: Callable[[str], None] = lambda _: None
    """Told of each write before its writer is."""


@dataclass
class Upstream:
    """The true API server."""

    netloc: str
    context: ssl.SSLContext
    headers: dict[str, str]

    def connect(self) -> HTTPConnection:
        return HTTPSConnection(self.netloc, context=self.context, timeout=60)


@contextmanager
def api_proxy(client_configuration: Any, folder: Path) -> Iterator[tuple[Path, Faults]]:
    """Serve it on a free port; gives a kubeconfig that leads through it."""
    faults, upstream = Faults(), _upstream(client_configuration)
    handler = type("Handler", (_Handler,), {"faults": faults, "upstream": upstream})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield _kubeconfig(folder / "proxied.kubeconfig", f"http://127.0.0.1:{server.server_port}"), faults
        for event in [*faults.listing.values(), *faults.gap.values()]:
            event.set()
        server.shutdown()


def _upstream(configuration: Any) -> Upstream:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    headers = {known["key"]: known["value"] for known in configuration.auth_settings().values()}
    return Upstream(urlsplit(configuration.host).netloc, context, headers)


def _kubeconfig(path: Path, server: str) -> Path:
    named = {
        "clusters": [{"name": "p", "cluster": {"server": server}}],
        "users": [{"name": "p", "user": {"token": "t"}}],
    }
    contexts = [{"name": "p", "context": {"cluster": "p", "user": "p"}}]
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **named, "contexts": contexts,
                                    "current-context": "p"}))  # fmt: skip
    return path


class _Handler(BaseHTTPRequestHandler):
    faults: Faults
    upstream: Upstream

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        kind = parts.path.rsplit("/", 1)[-1]
        is_watch = "watch" in parse_qs(parts.query)
        if is_watch and (gap := self.faults.gap.get(kind)):
            gap.wait(60)
            self.faults.gap.pop(kind, None)
            self._answer_gone()
            return
        if not is_watch and (held := self.faults.listing.get(kind)):
            held.wait(60)
        self._forward(kind, is_watch=is_watch)
        if not is_watch:
            self.faults.num_lists[kind] = self.faults.num_lists.get(kind, 0) + 1

    def do_POST(self) -> None:
        self._write()

    def do_PUT(self) -> None:
        self._write()

    def do_PATCH(self) -> None:
        self._write()

    def do_DELETE(self) -> None:
        self._write()

    def _write(self) -> None:
        what = f"{self.command} {self.path}"
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.faults.lets_through(what):
            return
        with closing(self.upstream.connect()) as connection, suppress(ConnectionError):
            told = {name: self.headers[name] for name in ("Accept", "Content-Type") if name in self.headers}
            connection.request(self.command, self.path, body, {**told, **self.upstream.headers})
            answer = connection.getresponse()
            content = answer.read()
            self.faults.was_written(what)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.getheader("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def _forward(self, kind: str, *, is_watch: bool) -> None:
        # Whoever watches may leave at any time.
        with closing(self.upstream.connect()) as connection, suppress(ConnectionError):
            accept = self.headers.get("Accept", "application/json")
            connection.request("GET", self.path, headers={"Accept": accept, **self.upstream.headers})
            answer = connection.getresponse()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.getheader("Content-Type", "application/json"))
            self.end_headers()
            # The end of the connection ends the body; a watch is passed on line by line.
            for chunk in iter(answer.readline if is_watch else answer.read, b""):
                if is_watch and kind in self.faults.gap:
                    break
                self.wfile.write(chunk)
                self.wfile.flush()

    def _answer_gone(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"type": "ERROR", "object": GONE}).encode() + b"\n")

    def log_message(self, *args: Any) -> None:
        """Stay quiet."""
