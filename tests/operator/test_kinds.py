"""Nothing is watched before every kind is served."""

from __future__ import annotations

import logging
import threading

import pytest

from llava_operator.errors import Transient
from llava_operator.kinds import await_kinds


class Growing:
    """An API server to which kinds are added while somebody waits; a look at it may fail."""

    def __init__(self, *looks: set[str] | Transient) -> None:
        self.looks = list(looks)

    def serves(self, kind: str) -> bool:
        look = self.looks[0]
        is_last_of_look = kind == "pods" or isinstance(look, Transient)
        if is_last_of_look and len(self.looks) > 1:
            self.looks.pop(0)
        if isinstance(look, Transient):
            raise look
        return kind in look


OURS = {"llavatrainjobs", "llavaevaljobs"}
ALL = OURS | {"pytorchjobs", "pods"}


@pytest.mark.parametrize("looks", [(ALL,), (OURS | {"pods"}, ALL), (set(), ALL), (Transient("busy"), ALL)])
def test_it_goes_on_when_every_kind_is_served(looks: tuple[set[str] | Transient, ...]) -> None:
    server = Growing(*looks)
    assert await_kinds(server, threading.Event(), again_s=0)
    assert server.looks == [ALL]


@pytest.mark.parametrize(("look", "told"), [
    (OURS | {"pods"}, "pytorchjobs: install the Training Operator"),
    ({"pytorchjobs", "pods"}, "llavatrainjobs, llavaevaljobs: install the chart's CRDs"),
    ({"pods"}, "install the Training Operator and install the chart's CRDs"),
    (Transient("no answer"), "no answer"),
])  # fmt: skip
def test_it_says_once_what_it_waits_for(
    look: set[str] | Transient, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "llava_operator"):
        await_kinds(Growing(look, look, look, ALL), threading.Event(), again_s=0)
    assert [told in record.message for record in caplog.records] == [True]


def test_it_leaves_when_it_is_asked_to() -> None:
    stop = threading.Event()
    stop.set()
    assert not await_kinds(Growing(set()), stop)
