"""The loop that stands in for a cluster's events: reconcile, wait for something, again, until the job rests."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import Final

from llava_contract.v1alpha1.status import JobStatus
from llava_operator.backends.local import LocalBackend
from llava_operator.bell import Bell
from llava_operator.core.decision import Rest, StopAttempt, Wait
from llava_operator.local_resources import LocalResources
from llava_operator.reconcile import reconcile

__all__ = ["asked_to_leave", "run_to_rest", "utc_now"]

_LOOK_S: Final = 1.0
"""Longest time between two looks at the progress of an attempt."""
_STOPPING_LOOK_S: Final = 0.2


def utc_now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


def run_to_rest(
    resources: LocalResources,
    backend: LocalBackend,
    *,
    bell: Bell,
    show: Callable[[JobStatus], None],
    now: Callable[[], datetime] = utc_now,
) -> JobStatus:
    """Reconcile until the job is over or suspended and nothing of it is alive; `show` sees every status on the way."""
    while True:
        decision = reconcile(resources.key, resources, backend=backend, now=now())
        show(resources.status)
        match decision:
            case Rest():
                return resources.status
            case Wait(until=until):
                left_s = (until - now()).total_seconds() if until else _LOOK_S
                bell.wait(min(_LOOK_S, left_s))
            case StopAttempt():
                bell.wait(_STOPPING_LOOK_S)
            case _:
                continue


@contextmanager
def asked_to_leave(first: Callable[[], None], again: Callable[[], None]) -> Iterator[list[signal.Signals]]:
    """Turn SIGINT and SIGTERM into calls of `first`, then `again`; the list names those that came."""
    came: list[signal.Signals] = []

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  the signature of a handler
        came.append(signal.Signals(number))
        (first if len(came) == 1 else again)()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
