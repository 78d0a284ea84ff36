"""Warnings of a namespace: one answer for all who ask within two seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llava_operator.backends.pod_warnings import PodWarnings
from llava_operator.errors import Transient
from support.clock import Clock


class Server:
    """Answers after `takes_s`, with one warning about each of three objects; counts the questions."""

    def __init__(self, clock: Clock, takes_s: float = 0.0) -> None:
        self.clock, self.takes_s, self.num_asked, self.error = clock, takes_s, 0, False
        self.meanwhile: Callable[[], None] = lambda: None

    def list_warnings(self, namespace: str) -> list[dict[str, Any]]:
        self.num_asked += 1
        self.clock.now += self.takes_s
        self.meanwhile()
        if self.error:
            raise Transient("busy")
        return [
            {
                "metadata": {"name": f"e{n}", "managedFields": []},
                "type": "Warning", "reason": "FailedMount", "message": f"{namespace} {self.num_asked}",
                "involvedObject": {"kind": "Pod", "uid": f"u{n}"},
            }
            for n in range(3)
        ]  # fmt: skip


def test_an_object_gets_what_is_about_it_without_the_rest_of_the_body() -> None:
    clock = Clock()
    (told,) = PodWarnings(Server(clock), clock).about("team", "u1")
    want = {"type": "Warning", "reason": "FailedMount", "message": "team 1", "involvedObject": {"kind": "Pod"}}
    assert told == want


def test_nobody_is_warned_of_what_is_not_said() -> None:
    clock = Clock()
    assert PodWarnings(Server(clock), clock).about("team", "u9") == ()


@pytest.mark.parametrize(
    ("takes_s", "later_s", "num_asked"),
    [(0.0, 1.9, 1), (0.0, 2.1, 2), (0.15, 2.9, 1), (0.15, 3.1, 2), (1.0, 3.9, 1), (1.0, 4.1, 2)],
)
def test_an_answer_is_kept_for_two_to_four_seconds_by_what_it_took(
    takes_s: float, later_s: float, num_asked: int
) -> None:
    clock = Clock()
    server = Server(clock, takes_s)
    warnings = PodWarnings(server, clock)
    warnings.about("team", "u0")
    clock.now += later_s
    warnings.about("team", "u1")
    assert server.num_asked == num_asked


def test_each_namespace_is_asked_about() -> None:
    clock = Clock()
    server = Server(clock)
    warnings = PodWarnings(server, clock)
    told = [warnings.about(namespace, "u0")[0]["message"] for namespace in ("one", "two", "one")]
    assert (told, server.num_asked) == (["one 1", "two 2", "one 1"], 2)


def test_who_comes_while_another_asks_takes_the_last_answer() -> None:
    clock = Clock()
    server = Server(clock)
    warnings = PodWarnings(server, clock)
    seen: list[str] = []
    warnings.about("team", "u0")
    clock.now += 3.0
    server.meanwhile = lambda: seen.extend(body["message"] for body in warnings.about("team", "u0"))
    warnings.about("team", "u0")
    assert (seen, server.num_asked) == (["team 1"], 2)


def test_no_answer_is_not_kept() -> None:
    clock = Clock()
    server = Server(clock)
    warnings = PodWarnings(server, clock)
    server.error = True
    with pytest.raises(Transient):
        warnings.about("team", "u0")
    server.error = False
    assert warnings.about("team", "u0")
