"""What the operator tells over HTTP: /metrics, and /healthz, which is true only while its loops move."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

__all__ = ["Problem", "serve"]

Problem = Callable[[], str | None]
"""Says what does not move; None when all is well."""

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class _Server(ThreadingHTTPServer):
    """Listens on both families where one socket can have them: some clusters speak IPv6 alone."""

    daemon_threads = True
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        """Take the port, and name no host: asking DNS for our own name can take longer than a probe waits."""
        if self.address_family is socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "", int(self.server_address[1])


def serve(port: int, *, metrics: Callable[[], bytes], problem: Problem) -> ThreadingHTTPServer:
    """Answer on a port until `shutdown`; 0 takes a free one. Raises OSError when the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        """Two pages."""

        timeout = 10

        def do_GET(self) -> None:
            """Answer one request."""
            if self.path == "/metrics":
                self._answer(200, metrics())
            elif self.path == "/healthz":
                found = problem()
                self._answer(503 if found else 200, (found or "ok").encode() + b"\n")
            else:
                self._answer(404, b"/metrics and /healthz are here\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's own names
            """Leave probes out of the log."""

        def _answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", _TEXT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = _Server(("", port), Handler)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server
