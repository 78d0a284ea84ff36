"""What a look sees: a job and its children as the store has them, asked for anew before anything is done about them."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

from llava_operator.backends.pytorchjob import Family
from llava_operator.core.job import Job, Key
from llava_operator.errors import Conflict, OperatorError
from llava_operator.store import Kind, Store, Stored

__all__ = ["LiveCalls", "Remembered"]

Body = dict[str, Any]


class LiveCalls(Protocol):
    """An API server that is really asked."""

    def read(self, kind: str, namespace: str, *, name: str) -> Body | None:
        """Read an object; None when there is none."""
        ...

    def list_owned(self, kind: str, namespace: str, *, owner_uid: str) -> list[Body]:
        """List what belongs to a job."""
        ...

    def create(self, kind: str, body: Body) -> Body:
        """Create an object."""
        ...

    def patch_status(self, kind: str, namespace: str, *, name: str, status: Body, version: str) -> Body:
        """Merge into the status of that version; Conflict when it is not the latest."""
        ...


class Remembered:
    """An API server whose jobs and their children are read from the store."""

    def __init__(self, live: LiveCalls, store: Store) -> None:
        self._live, self._store = live, store

    def renew(self, key: Key) -> bool:
        """Ask for a job and all its children anew; True, for what the store said may have been old.

        Whatever was known and is not there departs. Raises Transient; the job stays doubted then.
        """
        # Doubts that come from now on stay: what they are about may be younger than the answers.
        self._store.trust(key)
        try:
            self._renew(key, Kind(key.kind.plural))
        except OperatorError:
            self._store.doubt(key)
            raise
        return True

    def _renew(self, key: Key, kind: Kind) -> None:
        known = self._store.uids(key)
        body = self._live.read(kind.value, key.namespace, name=key.name)
        uid = "" if body is None else str(body["metadata"]["uid"])
        for gone in known:
            if gone != uid:
                self._store.forget(gone)
        if body is not None:
            self._store.put(kind, body)
            for child in (Kind.PYTORCH_JOB, Kind.POD):
                live = partial(self._live.list_owned, child.value, key.namespace, owner_uid=uid)
                self._store.refresh(child, uid, live=live)

    def family(self, job: Job) -> Family:
        """Give the job's children, and what departed pods said last."""
        jobs, pods = (self._store.children(kind, job.uid) for kind in (Kind.PYTORCH_JOB, Kind.POD))
        return Family(_bodies(jobs), _bodies(pods), _bodies(self._store.departed(Kind.POD, job.uid)))

    def read(self, kind: str, namespace: str, *, name: str) -> Body | None:
        """Remember a user's resource; None when there is none."""
        stored = self._store.job(Kind(kind).key(namespace, name))
        return None if stored is None else dict(stored.body)

    def create(self, kind: str, body: Body) -> Body:
        """Create an object."""
        return self._live.create(kind, body)

    def patch_status(self, kind: str, namespace: str, *, name: str, status: Body, version: str) -> Body:
        """Merge into a status; after a Conflict the job is not believed before it is renewed."""
        try:
            return self._live.patch_status(kind, namespace, name=name, status=status, version=version)
        except Conflict:
            self._store.doubt(Kind(kind).key(namespace, name))
            raise


def _bodies(found: list[Stored]) -> tuple[Body, ...]:
    return tuple(dict(stored.body) for stored in found)
