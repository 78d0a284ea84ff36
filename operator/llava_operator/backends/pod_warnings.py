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

    lock: threading.Lock = field(default_factory=threading.Lock)
    until: float = float("-inf")
    about: dict[str, list[Body]] = field(default_factory=dict)


class PodWarnings:
    """The warnings of all namespaces, at most 2 s old, or as old as twenty times what it takes to ask for them."""

    def __init__(self, cluster: WarningCalls, clock: Callable[[], float]) -> None:
        """`clock` gives seconds of monotonic time."""
        self._cluster, self._clock, self._lock = cluster, clock, threading.Lock()
        self._heard: dict[str, _Heard] = {}

    def about(self, namespace: str, uid: str) -> tuple[Body, ...]:
        """Give the warnings about an object; those who ask at once wait for one answer. Raises Transient."""
        with self._lock:
            heard = self._heard.setdefault(namespace, _Heard())
        with heard.lock:
            if self._clock() >= heard.until:
                self._ask(namespace, heard)
            return tuple(heard.about.get(uid, ()))

    def _ask(self, namespace: str, heard: _Heard) -> None:
        began = self._clock()
        found = self._cluster.list_warnings(namespace)
        ended = self._clock()
        heard.about = {}
        for body in found:
            involved = body.get("involvedObject") or {}
            told: Body = {name: body[name] for name in _KEPT if name in body}
            told["involvedObject"] = {"kind": involved.get("kind")}
            heard.about.setdefault(str(involved.get("uid")), []).append(told)
        heard.until = ended + max(_FRESH_S, (ended - began) / _MAX_SHARE)
