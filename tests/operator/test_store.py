"""What is known about objects, and what is not believed."""

from __future__ import annotations

from typing import Any

import pytest

from llava_contract.run import JobKind
from llava_operator.core.job import Key
from llava_operator.store import OWNER_UID, Kind, Store
from support.clock import Clock

JOB = {"metadata": {"namespace": "team", "name": "llava", "uid": "job", "resourceVersion": "1"}}
KEY = Key(JobKind.TRAIN, "team", "llava")
TERMINATED = [{"name": "pytorch", "state": {"terminated": {"exitCode": 77, "message": "NaN"}}}]
DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]


def pod(uid: str = "p0", *, version: int = 2, owner: str = "job", **status: Any) -> dict[str, Any]:
    meta = {"namespace": "team", "name": f"pod-{uid}", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": {**meta, "labels": {OWNER_UID: owner}, "managedFields": ["much"]}, "status": status}


def store(*pods: dict[str, Any], clock: Clock | None = None) -> Store:
    made = Store(clock or Clock())
    made.put(Kind.TRAIN_JOB, JOB)
    for body in pods:
        made.put(Kind.POD, body)
    return made


def uids(found: list[Any]) -> list[str]:
    return [child.uid for child in found]


def test_children_are_found_by_their_owner() -> None:
    made = store(pod("p1"), pod("p0"), pod("p2", owner="other"))
    assert uids(made.children(Kind.POD, "job")) == ["p0", "p1"]
    assert made.children(Kind.PYTORCH_JOB, "job") == []


def test_nothing_is_complete_before_every_kind_was_listed() -> None:
    made = store()
    seen = [made.is_complete]
    for kind in Kind:
        made.mark_listed(kind)
        seen.append(made.is_complete)
    assert seen == [False] * len(Kind) + [True]


def test_an_old_body_never_replaces_a_newer_one() -> None:
    made = store(pod(version=5, phase="Running"), pod(version=4, phase="Pending"))
    assert made.children(Kind.POD, "job")[0].body["status"]["phase"] == "Running"


def test_a_deleted_pod_keeps_its_last_words() -> None:
    made = store(pod())
    made.remove(Kind.POD, pod(version=3, containerStatuses=TERMINATED))
    assert made.children(Kind.POD, "job") == []
    assert made.departed(Kind.POD, "job")[0].body["status"]["containerStatuses"] == TERMINATED


def test_a_late_body_does_not_bring_a_departed_pod_back() -> None:
    made = store(pod())
    made.remove(Kind.POD, pod(version=3))
    made.put(Kind.POD, pod(version=4))
    assert made.children(Kind.POD, "job") == []


@pytest.mark.parametrize("status", [{"containerStatuses": TERMINATED}, {"conditions": DISRUPTED}])
@pytest.mark.parametrize("last", ["MODIFIED", "DELETED"])
def test_evidence_once_seen_is_never_lost(status: dict[str, Any], last: str) -> None:
    made = store(pod(), pod(version=3, **status))
    later = pod(version=4, phase="Failed", containerStatuses=[{"name": "pytorch", "state": {}}])
    made.put(Kind.POD, later) if last == "MODIFIED" else made.remove(Kind.POD, later)
    known = [*made.children(Kind.POD, "job"), *made.departed(Kind.POD, "job")][0].body["status"]
    assert {name: known[name] for name in status} == status
    assert known["phase"] == "Failed"


def test_newer_evidence_wins() -> None:
    newer = [{"name": "pytorch", "state": {"terminated": {"exitCode": 143}}}]
    made = store(pod(containerStatuses=TERMINATED), pod(version=3, containerStatuses=newer))
    assert made.children(Kind.POD, "job")[0].body["status"]["containerStatuses"] == newer


def test_a_ghost_is_evicted_by_a_live_list_with_its_evidence() -> None:
    made = store(pod("p0", containerStatuses=TERMINATED), pod("p1"))
    made.refresh(Kind.POD, "job", live=lambda: [pod("p1"), pod("p2")])
    assert uids(made.children(Kind.POD, "job")) == ["p1", "p2"]
    assert made.departed(Kind.POD, "job")[0].body["status"]["containerStatuses"] == TERMINATED


def test_what_appears_while_listing_is_no_ghost() -> None:
    made = store(pod("p0"))

    def live() -> list[dict[str, Any]]:
        made.put(Kind.POD, pod("p1"))
        return [pod("p0")]

    made.refresh(Kind.POD, "job", live=live)
    assert uids(made.children(Kind.POD, "job")) == ["p0", "p1"]


def test_what_is_deleted_while_listing_stays_deleted() -> None:
    made = store(pod("p0"))

    def live() -> list[dict[str, Any]]:
        made.remove(Kind.POD, pod("p0", version=3))
        return [pod("p0")]

    made.refresh(Kind.POD, "job", live=live)
    assert made.children(Kind.POD, "job") == []


def test_a_deleted_job_takes_its_family_along() -> None:
    made = store(pod())
    made.remove(Kind.TRAIN_JOB, JOB)
    assert (made.jobs(), made.children(Kind.POD, "job"), made.owner_key(Kind.POD, pod())) == ([], [], None)


def test_departed_children_are_forgotten_in_the_end() -> None:
    clock = Clock()
    made = store(pod(), clock=clock)
    made.remove(Kind.POD, pod())
    clock.now = 901.0
    made.refresh(Kind.POD, "job", live=list)
    assert made.departed(Kind.POD, "job") == []


def test_a_childs_event_wakes_its_owner() -> None:
    assert (store().owner_key(Kind.POD, pod()), store().owner_key(Kind.TRAIN_JOB, JOB)) == (KEY, KEY)


@pytest.mark.parametrize("labels", [None, {}, {"app": "web"}])
def test_somebody_elses_pod_is_not_kept(labels: dict[str, str] | None) -> None:
    body = pod()
    body["metadata"]["labels"] = labels
    made = store(body)
    assert made.owner_key(Kind.POD, body) is None
    assert made.children(Kind.POD, "") == []


def test_a_job_whose_deletion_was_missed_can_be_dropped() -> None:
    made = store(pod())
    assert made.uids(KEY) == ["job"]
    made.forget("job")
    assert (made.uids(KEY), made.children(Kind.POD, "job")) == ([], [])


def test_a_child_that_outlives_its_owner_is_not_kept() -> None:
    made = store(pod())
    made.remove(Kind.TRAIN_JOB, JOB)
    made.put(Kind.POD, pod(version=3))
    made.remove(Kind.POD, pod(version=4))
    assert (made.existing(Kind.POD), made.departed(Kind.POD, "job")) == ({}, [])


def test_the_later_of_two_jobs_under_one_name_is_meant() -> None:
    made = store()
    made.put(Kind.TRAIN_JOB, {"metadata": {**JOB["metadata"], "uid": "again"}})
    found = made.job(KEY)
    assert found is not None
    assert (found.uid, made.uids(KEY)) == ("again", ["job", "again"])


@pytest.mark.parametrize(("plural", "is_kept"), [("pods", True), ("configmaps", False)])
def test_answers_to_writes_are_learned_where_their_kind_is_watched(plural: str, is_kept: bool) -> None:
    made = store()
    made.learn(plural, pod())
    assert bool(made.children(Kind.POD, "job")) is is_kept


def evaluation(name: str, of: str | None, *, version: int = 1, namespace: str = "team") -> dict[str, Any]:
    meta = {"namespace": namespace, "name": name, "uid": f"e-{name}", "resourceVersion": str(version)}
    return {"metadata": meta, "spec": {"model": {"trainJobName": of} if of else {"uri": "/models/a"}}}


def test_a_training_job_is_followed_by_the_evaluations_that_name_it() -> None:
    made = store()
    bodies = [evaluation("b", "llava"), evaluation("a", "llava"), evaluation("c", "other"), evaluation("d", None)]
    for body in (*bodies, evaluation("e", "llava", namespace="else")):
        made.put(Kind.EVAL_JOB, body)
    assert [follower.name for follower in made.followers(KEY)] == ["a", "b"]
    assert made.followers(Key(JobKind.EVAL, "team", "llava")) == []


def test_a_training_job_is_followed_by_those_that_start_from_its_model() -> None:
    made = store()
    for name, given in {"b": {"trainJobName": "llava"}, "c": {"uri": "/models/a"}, "d": None}.items():
        meta = {"namespace": "team", "name": name, "uid": f"t-{name}", "resourceVersion": "1"}
        made.put(Kind.TRAIN_JOB, {"metadata": meta, "spec": {"model": {"from": given} if given else {}}})
    assert made.followers(KEY) == [Key(JobKind.TRAIN, "team", "b")]


def test_an_evaluation_that_is_gone_or_names_another_job_follows_no_more() -> None:
    made = store()
    for name in ("gone", "edited", "stays"):
        made.put(Kind.EVAL_JOB, evaluation(name, "llava"))
    made.remove(Kind.EVAL_JOB, evaluation("gone", "llava"))
    made.put(Kind.EVAL_JOB, evaluation("edited", "other", version=2))
    assert [follower.name for follower in made.followers(KEY)] == ["stays"]


def test_an_evaluation_may_name_a_job_that_is_not_there_yet() -> None:
    made = Store(Clock())
    made.put(Kind.EVAL_JOB, evaluation("early", "llava"))
    assert made.followers(KEY) == [Key(JobKind.EVAL, "team", "early")]


def test_two_kinds_of_one_name_are_two_jobs() -> None:
    made = store()
    made.put(Kind.EVAL_JOB, evaluation("llava", "llava"))
    assert made.jobs() == [Key(JobKind.EVAL, "team", "llava"), KEY]


def test_large_fields_that_nobody_reads_are_left_out() -> None:
    assert "managedFields" not in store(pod()).children(Kind.POD, "job")[0].body["metadata"]
