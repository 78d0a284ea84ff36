"""How a pod is asked for its progress: one request to its address, of which every outcome is one of three answers.

No proxy is ever asked, whatever the environment says: pods have no names that one could know.
"""

from __future__ import annotations

import math
import socket
import time
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from typing import Final, cast

from pydantic import ValidationError

from llava_contract.result import PROGRESS_PORT, PROGRESS_UID_HEADER, Progress

__all__ = ["Answer", "FirstPod", "Silent", "Unreachable", "read_progress"]

_TIMEOUT_S: Final = 2.0
_MAX_BYTES: Final = 64 * 1024
"""Of a whole answer; a true one has less than a hundredth."""
_MAX_STEP: Final = 2**53
"""What every reader of JSON takes for the same number."""


@dataclass(frozen=True)
class FirstPod:
    """The pod of rank 0, where it is, and whose progress it has to tell."""

    uid: str
    ip: str
    job_uid: str
    stage: str
    attempt: int
    port: int = PROGRESS_PORT

    @property
    def address(self) -> str:
        """Host and port as URLs write them."""
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


@dataclass(frozen=True)
class Silent:
    """The pod answers and has nothing to tell yet."""


@dataclass(frozen=True)
class Unreachable:
    """Nobody answers, or somebody else does, or nothing that can be understood: progress is unknown, not absent."""

    why: str


Answer = Progress | Silent | Unreachable


def read_progress(pod: FirstPod, *, timeout_s: float = _TIMEOUT_S) -> Answer:
    """Ask a pod; takes at most `timeout_s` in all, however slowly it talks, and raises nothing that a network does."""
    try:
        return _understood(_exchange(pod, time.monotonic() + timeout_s), pod)
    except TimeoutError:
        return Unreachable(f"{pod.address} did not answer within {timeout_s:g} s")
    except OSError as error:
        return Unreachable(f"{pod.address} cannot be reached: {error.strerror or type(error).__name__}")
    except (HTTPException, ValidationError, ValueError):
        return Unreachable(f"{pod.address} answers something that is no progress")


def _exchange(pod: FirstPod, deadline: float) -> HTTPResponse:
    """Send the request and hear the answer out; raises TimeoutError at the deadline and OSError."""
    # HTTP/1.1, because the proxies of service meshes refuse 1.0; one connection a request, because thousands of idle
    # ones would cost more than one handshake every half minute.
    request = f"GET /progress HTTP/1.1\r\nHost: {pod.address}\r\nConnection: close\r\nAccept: application/json\r\n\r\n"
    heard = bytearray()
    with socket.create_connection((pod.ip, pod.port), timeout=_left_s(deadline)) as connection:
        connection.sendall(request.encode())
        while len(heard) <= _MAX_BYTES:
            connection.settimeout(_left_s(deadline))
            if not (some := connection.recv(_MAX_BYTES)):
                break
            heard += some
    if len(heard) > _MAX_BYTES:
        raise ValueError("too long")
    response = HTTPResponse(cast(socket.socket, _Recording(bytes(heard))))
    response.begin()
    return response


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


@dataclass(frozen=True)
class _Recording:
    """What was heard, for the parser that wants a socket."""

    heard: bytes

    def makefile(self, mode: str) -> BytesIO:  # noqa: ARG002  a socket's signature
        """Play it back."""
        return BytesIO(self.heard)


def _understood(response: HTTPResponse, pod: FirstPod) -> Answer:
    """Judge an answer; raises ValidationError and ValueError for what is none."""
    if response.getheader(PROGRESS_UID_HEADER, pod.job_uid) != pod.job_uid:
        return Unreachable(f"{pod.address} belongs to another job by now")
    if response.status == 404:
        return Silent()
    if response.status != 200:
        return Unreachable(f"{pod.address} answers with status {response.status}")
    told = Progress.model_validate_json(response.read())
    numbers = [told.loss, told.learning_rate, told.grad_norm, told.samples_per_second, told.eta_seconds]
    numbers += [told.tokens_per_second, told.validation_loss, *told.source_losses.values()]
    if not all(math.isfinite(number) for number in numbers if number is not None):
        raise ValueError("not a number")
    if max(told.step, told.total_steps) > _MAX_STEP:
        raise ValueError("too many steps")
    if (told.stage, told.attempt) != (pod.stage, pod.attempt):
        return Unreachable(f"{pod.address} tells of {told.stage:.20} attempt {told.attempt}")
    return told
