"""One request to a pod has three outcomes, whatever the pod, the network or the environment does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from llava_contract.result import CheckpointRef
from llava_operator.progress import Answer, Silent, Unreachable, read_progress
from support.jobs import UID
from support.progress_pod import answering, first_pod, told

TRUE = told(loss=0.83, checkpoint=CheckpointRef(uri="/made/step-20", step=20, manifest_sha256="0" * 64))
BODY = TRUE.model_dump_json().encode()
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


def why(answer: Answer) -> str:
    assert isinstance(answer, Unreachable)
    return answer.why


@pytest.mark.parametrize(
    ("code", "body", "headers", "want"),
    [
        (200, BODY, {}, TRUE),
        (200, BODY, {"Llava_Job_Uid": UID}, TRUE),
        (200, CHUNKED, {"Transfer_Encoding": "chunked"}, TRUE),
        (404, b"not yet", {"Llava_Job_Uid": UID}, Silent()),
    ],
    ids=["progress", "its own", "through a proxy of a mesh", "not begun"],
)
def test_an_answer_is_understood(code: int, body: bytes, headers: dict[str, str], want: Answer) -> None:
    with answering(code, body, **headers) as port:
        assert read_progress(first_pod(port=port)) == want


@pytest.mark.parametrize(
    ("code", "body", "headers", "want"),
    [
        (200, b"<html>", {}, "no progress"),
        (200, b"", {}, "no progress"),
        (200, BODY, {"Content_Length": "9999"}, "no progress"),
        (200, b" " * 65_600 + BODY, {}, "no progress"),
        (200, BODY.replace(b"0.83", b"NaN"), {}, "no progress"),
        (200, BODY.replace(b"0.83", b"1e999"), {}, "no progress"),
        (200, BODY.replace(b":90", b":9007199254740993"), {}, "no progress"),
        (200, told(attempt=2).model_dump_json().encode(), {}, "tells of finetune attempt 2"),
        (200, told(stage="pretrain").model_dump_json().encode(), {}, "tells of pretrain attempt 1"),
        (200, BODY, {"Llava_Job_Uid": "another"}, "belongs to another job"),
        (404, b"", {"Llava_Job_Uid": "another"}, "belongs to another job"),
        (302, b"", {"Location": "http://127.0.0.1:1/progress"}, "status 302"),
        (503, b"no healthy upstream", {}, "status 503"),
    ],
)
def test_what_is_no_progress_of_this_attempt_makes_it_unknown(
    code: int, body: bytes, headers: dict[str, str], want: str
) -> None:
    with answering(code, body, **headers) as port:
        assert want in why(read_progress(first_pod(port=port)))


@contextmanager
def talking(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Let `talk` have whoever connects."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            talk(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    yield int(server.getsockname()[1])
    thread.join()
    server.close()


def drip(connection: socket.socket) -> None:
    """Say a character every 20 ms, for ever."""
    try:
        while True:
            connection.sendall(b"H")
            threading.Event().wait(0.02)
    except OSError:
        return


@pytest.mark.timeout(30)
@pytest.mark.parametrize("talk", [drip, lambda connection: connection.recv(1_000_000) and connection.recv(1)])
def test_the_time_limit_holds_however_slowly_a_pod_talks(talk: Callable[[socket.socket], None]) -> None:
    begun = time.monotonic()
    with talking(talk) as port:
        assert "did not answer within 0.2 s" in why(read_progress(first_pod(port=port), timeout_s=0.2))
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("words", [b"", b"SSH-2.0-x\r\n"])
def test_somebody_who_speaks_no_http_is_nobody(words: bytes) -> None:
    with talking(lambda connection: connection.sendall(words)) as port:
        assert why(read_progress(first_pod(port=port)))


def test_a_port_that_nobody_serves_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert why(read_progress(first_pod(port=port))) == f"127.0.0.1:{port} cannot be reached: Connection refused"


@pytest.mark.parametrize(("ip", "address"), [("10.0.0.7", "10.0.0.7:8081"), ("fd00::7", "[fd00::7]:8081")])
def test_addresses_are_written_as_in_urls(ip: str, address: str) -> None:
    assert first_pod(ip=ip).address == address


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_ipv6_is_spoken() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        assert f"[::1]:{port} did not" in why(read_progress(first_pod(ip="::1", port=port), timeout_s=0.1))


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_no_proxy_is_asked_for_a_pod(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    with answering(200, BODY) as port:
        assert read_progress(first_pod(port=port)) == TRUE
