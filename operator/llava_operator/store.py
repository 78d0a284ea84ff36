"""What the watches have shown so far: the latest body of each object, last words of those that went, what was listed.

A watch loses deletions when it has to list anew. What is here is therefore good enough to wait on and never to act on:
`refresh` takes a live list, and what is missing from it departs as if its deletion had been seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from threading import RLock
from typing import Any, Final

from llava_contract.run import JobKind
from llava_operator.core.job import Key
from llava_operator.trimmed import trimmed

__all__ = ["OWNER_UID", "Body", "Kind", "Store", "Stored", "owner_uid"]

Body = Mapping[str, Any]

OWNER_UID: Final = "llava.dev/owner-uid"
"""Label of everything that the operator makes: UID of the resource that it belongs to."""
_KEEP_DEPARTED_S: Final = 900.0
"""How long a departed child is remembered; its evidence reaches status within seconds."""


class Kind(StrEnum):
    """The kinds that are watched, by their plural."""

    TRAIN_JOB = JobKind.TRAIN.plural
    EVAL_JOB = JobKind.EVAL.plural
    PYTORCH_JOB = "pytorchjobs"
    POD = "pods"

    @property
    def is_job(self) -> bool:
        """Whether users write it; the others are children."""
        return self in _JOB_KINDS

    def key(self, namespace: str, name: str) -> Key:
        """Give the key of a user's resource of this kind."""
        return Key(_JOB_KINDS[self], namespace, name)


_JOB_KINDS: Final = {Kind.TRAIN_JOB: JobKind.TRAIN, Kind.EVAL_JOB: JobKind.EVAL}


@dataclass(frozen=True)
class Stored:
    """One object as last seen; a departed one keeps its last body."""

    kind: Kind
    body: Body
    departed_at: float | None = None
    """Monotonic seconds; None while it exists."""

    @property
    def uid(self) -> str:
        """Its identity; a name may come back, a UID never does."""
        return str(self.body["metadata"]["uid"])

    @property
    def version(self) -> int:
        """Its resourceVersion, which orders the bodies of one object."""
        return int(self.body["metadata"].get("resourceVersion") or 0)

    @property
    def owner(self) -> str:
        """UID of the user's resource that it belongs to: itself, or what its label says."""
        return self.uid if self.kind.is_job else owner_uid(self.body)


def owner_uid(body: Body) -> str:
    """Read the label of a child; empty when it has none."""
    return str((body["metadata"].get("labels") or {}).get(OWNER_UID, ""))


@dataclass
class Store:
    """Objects by UID, from several threads."""

    clock: Callable[[], float]
    _objects: dict[str, Stored] = field(default_factory=dict)
    _family: dict[str, set[str]] = field(default_factory=dict)
    """UIDs by their owner's UID."""
    _by_key: dict[Key, list[str]] = field(default_factory=dict)
    """UIDs of users' resources; two under one key when a deletion was missed."""
    _listed: set[Kind] = field(default_factory=set)
    _doubted: set[Key] = field(default_factory=set)
    _followers: dict[Key, set[Key]] = field(default_factory=dict)
    """Jobs by the training job that they have named; some may name another by now, or be gone."""
    _lock: RLock = field(default_factory=RLock)

    def mark_listed(self, *kinds: Kind) -> None:
        """Say that all objects of these kinds have been seen at least once."""
        with self._lock:
            self._listed.update(kinds)

    @property
    def is_complete(self) -> bool:
        """Whether every kind has been listed; before that nothing may be concluded from an absence."""
        with self._lock:
            return self._listed == set(Kind)

    def put(self, kind: Kind, body: Body) -> None:
        """Take a body from a list or a watch; ignored are older ones than the known, and those of departed objects."""
        if self._is_newest(Stored(kind, body)):
            return
        fresh = Stored(kind, trimmed(kind.value, body))
        if not fresh.owner:
            return
        with self._lock:
            known = self._objects.get(fresh.uid)
            if known is None:
                self._insert(fresh)
            elif known.departed_at is None and fresh.version >= known.version:
                self._insert(Stored(kind, with_evidence(known.body, fresh.body)))

    def learn(self, plural: str, body: Body) -> None:
        """Take the answer to a write, whatever kind it is of."""
        if plural in set(Kind):
            self.put(Kind(plural), body)

    def remove(self, kind: Kind, body: Body) -> None:
        """Take the last body of a deleted object; a child's is remembered, a job takes its whole family along."""
        gone = Stored(kind, trimmed(kind.value, body), departed_at=self.clock())
        with self._lock:
            if kind.is_job:
                self._remove_job(gone)
                return
            if gone.owner not in self._objects:
                self._drop(gone)
                return
            known = self._objects.get(gone.uid)
            last = with_evidence(known.body, gone.body) if known else gone.body
            self._insert(Stored(kind, last, departed_at=gone.departed_at))

    def refresh(self, kind: Kind, owner: str, *, live: Callable[[], Iterable[Body]]) -> None:
        """List an owner's children of a kind; those known before the list began and missing from it depart."""
        before = [child.uid for child in self.children(kind, owner)]
        listed = list(live())
        present = {str(body["metadata"]["uid"]) for body in listed}
        with self._lock:
            for body in listed:
                self.put(kind, body)
            for uid in before:
                ghost = self._objects.get(uid)
                if ghost is not None and uid not in present:
                    self.remove(kind, ghost.body)
            self._forget_departed(owner)

    def children(self, kind: Kind, owner: str) -> list[Stored]:
        """Give the owner's children that exist, by name."""
        return [child for child in self._all(kind, owner) if child.departed_at is None]

    def departed(self, kind: Kind, owner: str) -> list[Stored]:
        """Give the owner's children that are gone, with what they said last."""
        return [child for child in self._all(kind, owner) if child.departed_at is not None]

    def existing(self, kind: Kind) -> dict[str, Stored]:
        """Give all that exist of a kind, by UID."""
        with self._lock:
            stored = list(self._objects.values())
        return {one.uid: one for one in stored if one.kind is kind and one.departed_at is None}

    def has_seen(self, uid: str, *, version: int) -> bool:
        """Whether this version of an object, a later one, or its end has been seen."""
        with self._lock:
            stored = self._objects.get(uid)
        return stored is not None and (stored.departed_at is not None or stored.version >= version)

    def owner_key(self, kind: Kind, body: Body) -> Key | None:
        """Tell whose object it is; None when that resource is not known (any more)."""
        if kind.is_job:
            return _key(Stored(kind, body))
        with self._lock:
            owner = self._objects.get(owner_uid(body))
        return _key(owner) if owner else None

    def job(self, key: Key) -> Stored | None:
        """Give a user's resource; the one that came last when a deletion was missed."""
        with self._lock:
            uids = self._by_key.get(key)
            return self._objects[uids[-1]] if uids else None

    def uids(self, key: Key) -> list[str]:
        """Give the UIDs known under a key: one, or more when a deletion was missed."""
        with self._lock:
            return list(self._by_key.get(key, ()))

    def doubt(self, key: Key) -> None:
        """Say that what is known of a resource or of its children is old."""
        with self._lock:
            self._doubted.add(key)

    def trust(self, key: Key) -> None:
        """Say that it has been renewed."""
        with self._lock:
            self._doubted.discard(key)

    def is_doubted(self, key: Key) -> bool:
        """Whether a look has to begin with asking anew."""
        with self._lock:
            return key in self._doubted

    def forget(self, uid: str) -> None:
        """Drop a user's resource that a read found gone."""
        with self._lock:
            if (stored := self._objects.get(uid)) is not None:
                self.remove(stored.kind, stored.body)

    def jobs(self) -> list[Key]:
        """Give the keys of all users' resources."""
        with self._lock:
            return sorted(self._by_key)

    def followers(self, key: Key) -> list[Key]:
        """Give the jobs that wait for, or take, the model of a training job."""
        with self._lock:
            known = self._followers.get(key, set())
            known &= {one for one in known if (stored := self.job(one)) and _source_key(stored) == key}
            return sorted(known)

    def _all(self, kind: Kind, owner: str) -> list[Stored]:
        with self._lock:
            family = [self._objects[uid] for uid in self._family.get(owner, ())]
        return sorted((s for s in family if s.kind is kind), key=lambda s: str(s.body["metadata"]["name"]))

    def _is_newest(self, stored: Stored) -> bool:
        """Whether just this version is known: answers to writes, lists and watches bring the same bodies."""
        with self._lock:
            known = self._objects.get(stored.uid)
        return known is not None and known.version == stored.version != 0

    def _insert(self, stored: Stored) -> None:
        if stored.kind.is_job and stored.uid not in self._objects:
            self._by_key.setdefault(_key(stored), []).append(stored.uid)
        if (source := _source_key(stored)) is not None:
            self._followers.setdefault(source, set()).add(_key(stored))
        self._objects[stored.uid] = stored
        self._family.setdefault(stored.owner, set()).add(stored.uid)

    def _remove_job(self, gone: Stored) -> None:
        for uid in self._family.pop(gone.uid, set()):
            self._objects.pop(uid, None)
        if left := [uid for uid in self._by_key.pop(_key(gone), []) if uid != gone.uid]:
            self._by_key[_key(gone)] = left

    def _drop(self, orphan: Stored) -> None:
        """Forget a child that outlived its owner: nobody asks for its last words."""
        self._objects.pop(orphan.uid, None)
        family = self._family.get(orphan.owner, set())
        family.discard(orphan.uid)
        if not family:
            self._family.pop(orphan.owner, None)

    def _forget_departed(self, owner: str) -> None:
        family = self._family.get(owner, set())
        for uid in list(family):
            left = self._objects[uid].departed_at
            if left is not None and self.clock() - left > _KEEP_DEPARTED_S:
                family.discard(uid)
                del self._objects[uid]


def with_evidence(older: Body, newer: Body) -> Body:
    """Carry into a newer body what an older one of the same pod said about its end and the newer one does not say."""
    old, new = older.get("status") or {}, newer.get("status") or {}
    kept = {
        "containerStatuses": _kept(old, new, field_name="containerStatuses", key="name", tells=_is_terminated),
        "conditions": _kept(old, new, field_name="conditions", key="type", tells=_is_disruption),
    }
    return {**newer, "status": {**new, **{name: rows for name, rows in kept.items() if rows}}}


def _kept(old: Body, new: Body, *, field_name: str, key: str, tells: Callable[[Body], bool]) -> list[Body]:
    rows = list(new.get(field_name) or [])
    told = {row.get(key) for row in rows if tells(row)}
    missing = {row.get(key): row for row in old.get(field_name) or [] if tells(row) and row.get(key) not in told}
    return [row for row in rows if row.get(key) not in missing] + list(missing.values())


def _is_terminated(row: Body) -> bool:
    return bool((row.get("state") or {}).get("terminated"))


def _is_disruption(row: Body) -> bool:
    return row.get("type") == "DisruptionTarget" and row.get("status") == "True"


def _key(stored: Stored) -> Key:
    meta = stored.body["metadata"]
    return stored.kind.key(str(meta["namespace"]), str(meta["name"]))


def _source_key(stored: Stored) -> Key | None:
    """Tell whose model a job takes: an evaluation's is its model, a training's what its model is made from."""
    if not stored.kind.is_job:
        return None
    model = (stored.body.get("spec") or {}).get("model") or {}
    given = model if stored.kind is Kind.EVAL_JOB else model.get("from") or {}
    name = given.get("trainJobName")
    return Key(JobKind.TRAIN, str(stored.body["metadata"]["namespace"]), str(name)) if name else None
