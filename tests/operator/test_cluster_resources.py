"""Jobs on an API server: what becomes a job, what becomes a condition, and how little is written."""

from __future__ import annotations

from typing import Any

import pytest

from llava_contract.run import JobKind
from llava_contract.v1alpha1.status import Condition, JobStatus, Phase, StageState, StageStatus
from llava_operator.cluster_resources import ClusterResources, merge_patch
from llava_operator.core.events import Event
from llava_operator.core.job import Job, Key
from llava_operator.core.observe import Observed
from llava_operator.core.plan import plan_job
from llava_operator.core.status import latched
from llava_operator.errors import Conflict, InvalidSpec, Refused, SpecRefused
from support.fake_cluster import FakeCluster, merged
from support.jobs import KEY, NOON
from support.specs import EVAL, PLAIN, changed

KIND = "llavatrainjobs"
EVAL_KEY = Key(JobKind.EVAL, KEY.namespace, KEY.name)


def cluster(changes: dict[str, Any] | None = None, **meta: Any) -> FakeCluster:
    fake = FakeCluster()
    body = changed(PLAIN, changes or {})
    about = {"namespace": "team", "uid": "u1", "generation": 1, "resourceVersion": "7"}
    body["metadata"] = {**body["metadata"], **about, **meta}
    fake.put(KIND, body)
    return fake


def resources(fake: FakeCluster) -> ClusterResources:
    return ClusterResources(fake, clock=lambda: NOON)


def read(fake: FakeCluster) -> Job:
    job = resources(fake).get(KEY)
    assert job is not None
    return job


def status_of(fake: FakeCluster) -> JobStatus:
    return JobStatus.model_validate(fake.objects[KIND, "demo"]["status"])


def condition_of(fake: FakeCluster, type_: str) -> Condition:
    return next(one for one in status_of(fake).conditions if one.type == type_)


def test_a_job_is_read_with_its_effective_spec() -> None:
    job = read(cluster())
    assert (job.uid, job.generation, job.version, job.status) == ("u1", 1, "7", JobStatus())
    assert job.spec.pretrain is not None
    assert job.spec.pretrain.schedule is not None


@pytest.mark.parametrize("fake", [FakeCluster(), cluster(deletionTimestamp="2026-03-01T12:00:00Z")])
def test_what_is_absent_or_leaves_is_no_job(fake: FakeCluster) -> None:
    assert resources(fake).get(KEY) is None


def test_a_spec_that_only_the_contract_refuses_becomes_a_condition() -> None:
    fake = cluster({"spec.recipe": "no-such-recipe"})
    assert resources(fake).get(KEY) is None
    failed = condition_of(fake, "Failed")
    assert (status_of(fake).phase, failed.reason) == (Phase.FAILED, "SpecRefused")
    assert "no-such-recipe" in failed.message


def test_a_refusal_is_written_once() -> None:
    fake = cluster({"spec.recipe": "no-such-recipe"})
    resources(fake).get(KEY)
    resources(fake).get(KEY)
    assert fake.calls.count(f"patch {KIND}") == 1


def test_a_refused_spec_hides_no_running_attempt() -> None:
    fake = cluster({"spec.recipe": "no-such-recipe"})
    running = JobStatus(phase=Phase.RUNNING, stages=[StageStatus(name="prepare", state=StageState.RUNNING)])
    fake.objects[KIND, "demo"]["status"] = running.model_dump(mode="json", exclude_none=True)
    resources(fake).get(KEY)
    assert status_of(fake).phase is Phase.RUNNING


def test_a_mended_spec_is_a_job_again() -> None:
    fake = cluster({"spec.recipe": "no-such-recipe"})
    resources(fake).get(KEY)
    del fake.objects[KIND, "demo"]["spec"]["recipe"]
    job = read(fake)
    resources(fake).patch_status(job, latched(job.status, plan_job(job), observed=Observed(), now=NOON))
    assert (status_of(fake).phase, condition_of(fake, "Failed").reason) == (Phase.PENDING, "GoesOn")


def test_only_what_changed_is_written() -> None:
    fake = cluster()
    job = read(fake)
    resources(fake).patch_status(job, job.status.model_copy(update={"phase": Phase.RUNNING, "restarts": 1}))
    assert status_of(fake) == JobStatus(phase=Phase.RUNNING, restarts=1)


def test_a_write_over_somebody_elses_is_a_conflict() -> None:
    fake = cluster()
    job = read(fake)
    fake.objects[KIND, "demo"]["metadata"]["resourceVersion"] = "8"
    with pytest.raises(Conflict):
        resources(fake).patch_status(job, job.status.model_copy(update={"restarts": 1}))


@pytest.mark.parametrize(
    ("error", "reason"), [(Refused("exceeded quota"), "Refused"), (InvalidSpec("no data"), "SpecIncomplete")]
)
def test_what_cannot_be_started_is_pending_and_says_why(error: Refused | InvalidSpec, reason: str) -> None:
    fake = cluster()
    resources(fake).refuse(KEY, error)
    ready = condition_of(fake, "Ready")
    assert (status_of(fake).phase, ready.reason, ready.message) == (Phase.PENDING, reason, str(error))


def test_an_event_is_short_enough_and_about_the_job() -> None:
    fake = cluster()
    resources(fake).emit(read(fake), Event("AttemptFailed", "ä" * 2000, is_warning=True))
    (body,) = [body for (kind, _), body in fake.objects.items() if kind == "events.events.k8s.io"]
    assert (len(body["note"].encode()), body["type"], body["regarding"]["uid"]) == (1024, "Warning", "u1")


def events(fake: FakeCluster) -> list[dict[str, Any]]:
    return [body for (kind, _), body in fake.objects.items() if kind == "events.events.k8s.io"]


def test_what_is_told_twice_is_one_event() -> None:
    fake = cluster()
    for version in ("7", "8"):
        fake.objects[KIND, "demo"]["metadata"]["resourceVersion"] = version
        resources(fake).emit(read(fake), Event("Succeeded", "done"))
    assert len(events(fake)) == 1


def test_routine_is_not_told() -> None:
    fake = cluster()
    resources(fake).emit(read(fake), Event("AttemptStarted", "again", is_routine=True))
    assert events(fake) == []


def test_a_refused_spec_is_told_once() -> None:
    fake = cluster({"spec.recipe": "no-such-recipe"})
    for recipe in ("no-such-recipe", "nor-this-one", "nor-this-one"):
        fake.objects[KIND, "demo"]["spec"]["recipe"] = recipe
        resources(fake).get(KEY)
    assert [body["reason"] for body in events(fake)] == ["SpecRefused"]


def test_a_spec_that_is_refused_and_mended_again_and_again_while_an_attempt_runs_is_told_once() -> None:
    fake = cluster()
    running = JobStatus(phase=Phase.RUNNING, stages=[StageStatus(name="prepare", state=StageState.RUNNING)])
    fake.objects[KIND, "demo"]["status"] = running.model_dump(mode="json", exclude_none=True)
    for recipe in ("no-such-recipe", "nor-this-one"):
        fake.objects[KIND, "demo"]["spec"]["recipe"] = recipe
        resources(fake).get(KEY)
        del fake.objects[KIND, "demo"]["spec"]["recipe"]
        job = read(fake)
        resources(fake).patch_status(job, latched(job.status, plan_job(job), observed=Observed(), now=NOON))
    assert len(events(fake)) == 1


def test_status_is_written_without_empty_lists() -> None:
    fake = cluster()
    job = read(fake)
    status = JobStatus(phase=Phase.RUNNING, stages=[StageStatus(name="prepare", state=StageState.RUNNING)])
    resources(fake).patch_status(job, status)
    written = fake.objects[KIND, "demo"]["status"]
    assert not {"artifacts", "results", "conditions"} & written.keys()
    assert not {"history", "pods", "seconds", "message"} & written["stages"][0].keys()
    assert status_of(fake) == status


def evaluated(fake: FakeCluster, **changes: Any) -> FakeCluster:
    """Put an evaluation of the same name beside the training job."""
    body = changed(EVAL, {"metadata.name": "demo", **changes})
    about = {"namespace": "team", "uid": "e1", "generation": 1, "resourceVersion": "3"}
    fake.put("llavaevaljobs", {**body, "metadata": {**body["metadata"], **about}})
    return fake


def test_an_evaluation_is_read_with_the_training_job_that_it_names() -> None:
    fake = evaluated(cluster({"status": {"artifacts": {"huggingface": "s3://bucket/model"}}}))
    job = resources(fake).get(EVAL_KEY)
    assert job is not None
    assert job.source is not None
    assert (job.uid, job.source.exports, job.source.status.artifacts) == (
        "e1", True, {"huggingface": "s3://bucket/model"},
    )  # fmt: skip


def test_a_training_is_read_with_the_training_job_whose_model_it_starts_from() -> None:
    first = {"spec.model": {"from": {"trainJobName": "first"}, "promptTemplate": "vicuna"}}
    fake = cluster(first)
    body = changed(PLAIN, {"metadata.name": "first", "status": {"artifacts": {"huggingface": "s3://bucket/model"}}})
    about = {"namespace": "team", "uid": "u-first", "generation": 1, "resourceVersion": "3"}
    fake.put("llavatrainjobs", {**body, "metadata": {**body["metadata"], **about}})
    job = resources(fake).get(KEY)
    assert job is not None
    assert job.source is not None
    assert job.source.status.artifacts == {"huggingface": "s3://bucket/model"}


@pytest.mark.parametrize("fake", [FakeCluster(), cluster()])
def test_an_evaluation_of_a_uri_looks_at_no_training_job(fake: FakeCluster) -> None:
    job = resources(evaluated(fake, **{"spec.model": {"uri": "/models/a"}})).get(EVAL_KEY)
    assert job is not None
    assert job.source is None


@pytest.mark.parametrize(("change", "exports"), [({"spec.convert": "(absent)", "spec.evaluate": "(absent)"}, False),
                                                 ({"spec.recipe": "no-such-recipe"}, True)])  # fmt: skip
def test_whether_a_training_job_exports_is_read_off_its_spec(change: dict[str, Any], exports: bool) -> None:
    job = resources(evaluated(cluster(change))).get(EVAL_KEY)
    assert job is not None
    assert job.source is not None
    assert job.source.exports is exports


def test_looking_at_a_refused_training_job_writes_nothing() -> None:
    fake = evaluated(cluster({"spec.recipe": "no-such-recipe"}))
    resources(fake).get(EVAL_KEY)
    assert not [call for call in fake.calls if call.startswith("patch")]


def test_status_and_events_of_two_kinds_under_one_name_stay_apart() -> None:
    fake = evaluated(cluster())
    job = resources(fake).get(EVAL_KEY)
    assert job is not None
    resources(fake).patch_status(job, job.status.model_copy(update={"phase": Phase.RUNNING}))
    resources(fake).emit(job, Event("Succeeded", "done"))
    (body,) = [body for (kind, _), body in fake.objects.items() if kind == "events.events.k8s.io"]
    assert (body["regarding"]["kind"], body["regarding"]["uid"]) == ("LlavaEvalJob", "e1")
    assert fake.objects["llavaevaljobs", "demo"]["status"]["phase"] == "Running"
    assert "status" not in fake.objects[KIND, "demo"]


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1, "b": 1}, {"a": 1}, {"b": None}),
        ({"a": {"x": 1, "y": 1}}, {"a": {"x": 2}}, {"a": {"x": 2, "y": None}}),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 2]}),
        ({}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({}, {"a": {}}, {"a": {}}),
    ],
)
def test_a_patch_makes_one_status_into_another(
    before: dict[str, Any], after: dict[str, Any], patch: dict[str, Any]
) -> None:
    assert merge_patch(before, after) == patch
    assert merged(before, patch) == after


def test_a_spec_that_no_pod_can_carry_out_fails_until_it_is_mended() -> None:
    fake = cluster()
    resources(fake).refuse(KEY, SpecRefused("unknown field"))
    failed = condition_of(fake, "Failed")
    assert (status_of(fake).phase, failed.reason, failed.message) == (Phase.FAILED, "SpecRefused", "unknown field")
    job = read(fake)
    assert latched(job.status, plan_job(job), observed=Observed(), now=NOON).phase is Phase.PENDING
