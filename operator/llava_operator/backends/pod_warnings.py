"""What a cluster complains of in a namespace, asked once for all jobs that wait there.

An API server keeps no index of Events: each list reads all of a namespace, and a hundred waiting jobs would ask a
hundred times for the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

__all__ = ["PodWarnings", "WarningCalls"]

Body = dict[str, Any]
_KEPT: Final = ("type", "reason", "message", "lastTimestamp", "eventTime")
_FRESH_S: Final = 2.0
_STALE_S: Final = 4.0
"""With the 3 s until the next look, status says what is wrong within 10 s of the cluster."""
_MAX_SHARE: Final = 0.05
"""Of the time, for asking: where a namespace holds ten thousand Events, it is asked less often."""


class WarningCalls(Protocol):
    """What is asked of an API server here."""

    def list_warnings(self, namespace: str) -> list[Body]:
        """List the Events of type Warning of a namespace."""
        ...


@dataclass
class _Heard:
    """The last answer about a namespace, by the UID of whom an Event is about."""

    asking: threading.Lock = field(default_factory=threading.Lock)
    """A slow answer holds up one look, not all of them."""
    until: float = float("-inf")
    about: dict[str, list[Body]] = field(default_factory=dict)


class PodWarnings:
    """The warnings of all namespaces, 2 s old at most, 4 s where the API server is slow to answer."""

    def __init__(self, cluster: WarningCalls, clock: Callable[[], float]) -> None:
        """`clock` gives seconds of monotonic time."""
        self._cluster, self._clock, self._lock = cluster, clock, threading.Lock()
        self._heard: dict[str, _Heard] = {}

    def about(self, namespace: str, uid: str) -> tuple[Body, ...]:
        """Give the warnings about an object; while one asks, others get the last answer. Raises Transient."""
        with self._lock:
            heard = self._heard.setdefault(namespace, _Heard())
        if self._clock() >= heard.until and heard.asking.acquire(blocking=False):
            try:
                self._ask(namespace, heard)
            finally:
                heard.asking.release()
        return tuple(heard.about.get(uid, ()))

    def _ask(self, namespace: str, heard: _Heard) -> None:
        began = self._clock()
        found = self._cluster.list_warnings(namespace)
        ended = self._clock()
        about: dict[str, list[Body]] = {}
        for body in found:
            involved = body.get("involvedObject") or {}
            told: Body = {name: body[name] for name in _KEPT if name in body}
            told["involvedObject"] = {"kind": involved.get("kind")}
            about.setdefault(str(involved.get("uid")), []).append(told)
        heard.about = about
        heard.until = ended + min(max(_FRESH_S, (ended - began) / _MAX_SHARE), _STALE_S)
