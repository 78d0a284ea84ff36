"""What the watches missed: from time to time everything that exists is counted, by identity and version alone.

Nobody tells of a deletion inside a gap of a watch, and a connection may be dead without a sign. Whatever the count and
the store disagree about makes its owner doubted: the next look at it begins with asking anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

from llava_operator.core.job import Key
from llava_operator.errors import OperatorError
from llava_operator.store import OWNER_UID, Kind, Store
from llava_operator.trimmed import trimmed

__all__ = ["Census", "MetadataCalls"]

_LOG: Final = logging.getLogger("llava_operator")
_AGAIN_S: Final = 10.0


class MetadataCalls(Protocol):
    """What is asked of an API server here."""

    def list_metadata(self, kind: str, namespace: str, *, label: str) -> Iterable[dict[str, Any]]:
        """List what bears the label, if one is named, without spec and status; no namespace is all of them."""
        ...


class Census:
    """Counts when it is due, and when it is asked to."""

    def __init__(self, cluster: MetadataCalls, store: Store, *, namespaces: tuple[str, ...], every_s: float) -> None:
        """No namespaces are all of them."""
        self._cluster, self._store = cluster, store
        self._namespaces = namespaces or ("",)
        self._every_s = every_s
        self._is_due = threading.Event()

    def ask(self) -> None:
        """Count soon: a watch has begun anew."""
        self._is_due.set()

    def run(self, stop: threading.Event, wake: Callable[[Key], None]) -> None:
        """Count until `stop` is set (and `ask` is called); `wake` gets the keys that are doubted."""
        wait_s = self._every_s
        while not stop.is_set():
            self._is_due.wait(wait_s)
            self._is_due.clear()
            wait_s = self._every_s
            try:
                doubted = self.take() if self._store.is_complete and not stop.is_set() else set()
            except OperatorError as error:
                _LOG.warning(str(error), extra={"told": {"error": type(error).__name__, "again_in_s": _AGAIN_S}})
                wait_s, doubted = _AGAIN_S, set()
            for key in doubted:
                wake(key)

    def take(self) -> set[Key]:
        """Count everything once and doubt what the store shows otherwise; raises Transient and Refused."""
        doubted: set[Key] = set()
        for kind in Kind:
            doubted |= self._differing(kind)
        for key in doubted:
            self._store.doubt(key)
        return doubted

    def _differing(self, kind: Kind) -> set[Key]:
        before = self._store.existing(kind)
        listed = [body for namespace in self._namespaces for body in self._listed(kind, namespace)]
        now = self._store.existing(kind)
        present = {str(body["metadata"]["uid"]) for body in listed}
        ghosts = [now[uid].body for uid in before if uid in now and uid not in present]
        fresh = [body for body in listed if not self._is_known(body)]
        for ghost in ghosts:
            if self._store.owner_key(kind, ghost) is None:
                self._store.remove(kind, ghost)
        owners = (self._store.owner_key(kind, body) for body in (*ghosts, *fresh))
        return {owner for owner in owners if owner is not None}

    def _listed(self, kind: Kind, namespace: str) -> Iterator[dict[str, Any]]:
        """Keep of each page what is compared: thousands of lists of managed fields would be the process's peak."""
        for body in self._cluster.list_metadata(kind.value, namespace, label="" if kind.is_job else OWNER_UID):
            yield trimmed(kind.value, body)

    def _is_known(self, body: dict[str, Any]) -> bool:
        meta = body["metadata"]
        return self._store.has_seen(str(meta["uid"]), version=int(meta["resourceVersion"]))
