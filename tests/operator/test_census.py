"""What is doubted after a count: the owners of everything that the store shows otherwise."""

from __future__ import annotations

import threading
from typing import Any

from llava_contract.run import JobKind
from llava_operator.census import Census
from llava_operator.core.job import Key
from llava_operator.errors import Transient
from llava_operator.store import OWNER_UID, Kind, Store
from support.clock import Clock

KEY = Key(JobKind.TRAIN, "team", "llava")


def body(uid: str, *, version: int = 1, **labels: str) -> dict[str, Any]:
    meta = {"namespace": "team", "name": uid, "uid": uid, "resourceVersion": str(version), "labels": labels}
    return {"metadata": meta}


JOB = body("job")
JOB["metadata"]["name"] = "llava"


def pod(uid: str, *, version: int = 1, owner: str = "job") -> dict[str, Any]:
    return body(uid, version=version, **{OWNER_UID: owner})


class Server:
    """What really exists."""

    def __init__(self, *pods: dict[str, Any], jobs: tuple[dict[str, Any], ...] = (JOB,)) -> None:
        self.objects = {"llavatrainjobs": jobs, "pods": pods}
        self.asked: list[tuple[str, str, str]] = []
        self.failures = 0

    def list_metadata(self, kind: str, namespace: str, *, label: str) -> tuple[dict[str, Any], ...]:
        self.asked.append((kind, namespace, label))
        if self.failures:
            self.failures -= 1
            raise Transient("busy")
        return self.objects.get(kind, ())


def store(*pods: dict[str, Any]) -> Store:
    made = Store(Clock())
    made.put(Kind.TRAIN_JOB, JOB)
    for one in pods:
        made.put(Kind.POD, one)
    made.mark_listed(*Kind)
    return made


def census(server: Server, known: Store) -> Census:
    return Census(server, known, namespaces=(), every_s=0.001)


def test_nothing_is_doubted_when_all_agree() -> None:
    assert census(Server(pod("p")), store(pod("p"))).take() == set()


def test_the_owner_of_a_ghost_is_doubted() -> None:
    known = store(pod("p"))
    assert census(Server(), known).take() == {KEY}
    assert known.is_doubted(KEY)


def test_the_owner_of_an_unseen_child_is_doubted() -> None:
    assert census(Server(pod("p")), store()).take() == {KEY}


def test_the_owner_of_a_child_that_changed_unseen_is_doubted() -> None:
    assert census(Server(pod("p", version=2)), store(pod("p"))).take() == {KEY}


def test_what_the_watch_was_told_since_is_no_reason_for_doubt() -> None:
    assert census(Server(pod("p")), store(pod("p", version=2))).take() == set()


def test_a_job_that_is_gone_is_doubted() -> None:
    assert census(Server(jobs=()), store()).take() == {KEY}


def test_a_child_whose_owner_nobody_knows_is_forgotten() -> None:
    known = store(pod("p", owner="other"))
    assert census(Server(), known).take() == set()
    assert known.existing(Kind.POD) == {}


def test_every_namespace_is_counted_and_children_by_their_label() -> None:
    server = Server()
    Census(server, store(), namespaces=("a", "b"), every_s=1).take()
    assert [asked for asked in server.asked if asked[0] in ("llavatrainjobs", "pods")] == [
        ("llavatrainjobs", "a", ""), ("llavatrainjobs", "b", ""), ("pods", "a", OWNER_UID), ("pods", "b", OWNER_UID),
    ]  # fmt: skip


def test_a_count_is_taken_when_it_is_due_and_wakes_who_is_doubted() -> None:
    stop, woken = threading.Event(), []

    def wake(key: Key) -> None:
        woken.append(key)
        stop.set()

    census(Server(), store(pod("p"))).run(stop, wake)
    assert woken == [KEY]


def test_a_count_that_failed_is_taken_again() -> None:
    server, stop = Server(), threading.Event()
    server.failures = 1
    counting = census(server, store(pod("p")))
    threading.Timer(0.05, counting.ask).start()
    counting.run(stop, lambda _: stop.set())
    assert len(server.asked) > 1
