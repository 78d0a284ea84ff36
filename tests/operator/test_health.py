"""The health page says the truth about loops."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llava_operator.health import serve


@contextmanager
def pages(problem: str | None) -> Iterator[int]:
    server = serve(0, metrics=lambda: b"llava_operator_leader 1.0\n", problem=lambda: problem)
    yield server.server_port
    server.shutdown()
    server.server_close()


def get(port: int, path: str, *, host: str = "127.0.0.1") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    told = answer.status, answer.read()
    connection.close()
    return told


@pytest.mark.parametrize(
    ("problem", "want"), [(None, (200, b"ok\n")), ("the queue stands", (503, b"the queue stands\n"))]
)
def test_health_is_what_the_loops_say(problem: str | None, want: tuple[int, bytes]) -> None:
    with pages(problem) as port:
        assert get(port, "/healthz") == want


@pytest.mark.parametrize(("path", "code"), [("/metrics", 200), ("/secret", 404)])
def test_nothing_but_two_pages_is_served(path: str, code: int) -> None:
    with pages(None) as port:
        assert get(port, path)[0] == code


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_families_are_answered(host: str) -> None:
    with pages(None) as port:
        assert get(port, "/healthz", host=host)[0] == 200
