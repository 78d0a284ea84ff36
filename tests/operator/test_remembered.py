"""What a look is told from memory, and what is asked anew."""

from __future__ import annotations

from typing import Any

import pytest

from llava_operator.errors import Conflict, Transient
from llava_operator.remembered import Remembered
from llava_operator.store import OWNER_UID, Kind, Store
from support.clock import Clock
from support.fake_cluster import FakeCluster
from support.jobs import KEY

PLURAL = KEY.kind.plural


def body(uid: str, name: str, **labels: str) -> dict[str, Any]:
    meta = {"namespace": KEY.namespace, "name": name, "uid": uid, "resourceVersion": "1", "labels": labels}
    return {"metadata": meta, "status": {}}


def pod(uid: str) -> dict[str, Any]:
    return body(uid, uid, **{OWNER_UID: "u1"})


def scene(*, known: tuple[str, ...] = (), live: tuple[str, ...] = ()) -> tuple[Remembered, FakeCluster, Store]:
    """A job that exists, with these pods as the store has them and as they are."""
    cluster, store = FakeCluster(), Store(Clock())
    cluster.put(PLURAL, body("u1", KEY.name))
    store.put(Kind.TRAIN_JOB, body("u1", KEY.name))
    for uid in known:
        store.put(Kind.POD, pod(uid))
    for uid in live:
        cluster.put("pods", pod(uid))
    return Remembered(cluster, store), cluster, store


def pods_of(store: Store) -> list[str]:
    return [child.uid for child in store.children(Kind.POD, "u1")]


def test_reading_asks_nobody() -> None:
    memory, cluster, _ = scene()
    found = memory.read(PLURAL, KEY.namespace, name=KEY.name)
    assert found is not None
    assert (found["metadata"]["uid"], cluster.calls) == ("u1", [])


def test_renewing_asks_for_the_job_and_for_each_kind_of_children_once() -> None:
    memory, cluster, store = scene(known=("ghost", "kept"), live=("kept", "new"))
    assert memory.renew(KEY)
    assert cluster.calls == [f"read {PLURAL}", "list pytorchjobs", "list pods"]
    assert pods_of(store) == ["kept", "new"]


def test_a_job_that_is_gone_departs_with_its_children() -> None:
    memory, cluster, store = scene(known=("ghost",))
    cluster.objects.clear()
    memory.renew(KEY)
    assert (store.job(KEY), pods_of(store)) == (None, [])


def test_a_job_that_was_made_anew_under_its_name_takes_the_place_of_the_old() -> None:
    memory, cluster, store = scene(known=("ghost",))
    cluster.put(PLURAL, body("u2", KEY.name))
    memory.renew(KEY)
    assert (store.uids(KEY), pods_of(store)) == (["u2"], [])


def test_renewing_ends_doubts() -> None:
    memory, _, store = scene()
    store.doubt(KEY)
    memory.renew(KEY)
    assert not store.is_doubted(KEY)


def test_doubts_outlive_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, cluster, store = scene()

    def busy(*_: Any, **__: Any) -> None:
        raise Transient("busy")

    monkeypatch.setattr(cluster, "list_owned", busy)
    with pytest.raises(Transient):
        memory.renew(KEY)
    assert store.is_doubted(KEY)


def test_a_job_that_somebody_else_wrote_is_doubted() -> None:
    memory, _, store = scene()
    with pytest.raises(Conflict):
        memory.patch_status(PLURAL, KEY.namespace, name=KEY.name, status={}, version="0")
    assert store.is_doubted(KEY)
