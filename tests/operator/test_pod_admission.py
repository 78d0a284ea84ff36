"""What keeps a job from being started on a cluster at all, asked before anything of it is named or made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llava_contract.run import Stage
from llava_contract.v1alpha1.status import JobStatus, StageStatus
from llava_operator.backends.base import Attempt
from llava_operator.backends.pod_admission import Approvals, admit_pods
from llava_operator.backends.rendering import PodSettings
from llava_operator.core.plan import plan_job
from llava_operator.core.runfile import run_config
from llava_operator.errors import Malformed, OperatorError, Refused, SpecRefused
from support.clock import Clock
from support.fake_cluster import FakeCluster
from support.fakes import World
from support.jobs import SPEC, job

WARNED = 'would violate PodSecurity "restricted:latest": restricted volume types (volume "d" uses "hostPath")'
ENFORCE = "pod-security.kubernetes.io/enforce"
OVERLAID = {**SPEC["workers"], "podTemplate": {"nodeSelector": {"pool": "gpu"}}}


def admit(cluster: FakeCluster, approvals: Approvals | None = None, name: str = "demo", **changes: Any) -> None:
    built = job().wanting(**changes).build()
    plan = plan_job(built)
    named = replace(built, status=JobStatus(stages=[StageStatus(name=Stage.PREPARE, attempt=1)]))
    config = run_config(named, plan.stages[0])
    config = config.model_copy(update={"job": config.job.model_copy(update={"name": name, "uid": f"uid of {name}"})})
    first = Attempt(f"{name}-prepare-1", plan.stages[0], config)
    approvals = approvals or Approvals(Clock())
    admit_pods(first, plan, cluster=cluster, settings=PodSettings(image="i"), approvals=approvals)


def refused(cluster: FakeCluster, **changes: Any) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        admit(cluster, **changes)
    return caught.value


@pytest.mark.parametrize("uri", ["runs/tiny", "~/runs", "./x", "run s"])
def test_a_folder_of_nobody_is_no_storage(uri: str) -> None:
    cluster = FakeCluster()
    error = refused(cluster, storage={"uri": uri})
    assert isinstance(error, SpecRefused)
    assert f"spec.storage.uri: {uri} is" in str(error)
    assert "write s3://bucket/prefix, pvc://claim/path, or file:///path" in str(error)
    assert cluster.calls == []


@pytest.mark.parametrize("uri", ["s3://bucket/a", "pvc://claim/a", "pvc://claim", "file:///a", "/a"])
def test_a_place_that_all_pods_reach_is_storage(uri: str) -> None:
    admit(FakeCluster(), storage={"uri": uri})


@pytest.mark.parametrize(("workers", "num"), [(SPEC["workers"], 1), (OVERLAID, 2)])
def test_pods_are_judged_once_for_each_of_the_specs_descriptions(workers: dict[str, Any], num: int) -> None:
    cluster = FakeCluster()
    admit(cluster, workers=workers)
    assert cluster.calls == ["judge podtemplates"] * num


def test_pods_that_differ_in_names_only_are_judged_once_a_minute() -> None:
    cluster, clock = FakeCluster(), Clock()
    approvals = Approvals(clock)
    admit(cluster, approvals, "one"), admit(cluster, approvals, "two")
    once = len(cluster.calls)
    admit(cluster, approvals, "three", workers=OVERLAID)
    twice = len(cluster.calls)
    clock.now += 61.0
    admit(cluster, approvals, "four")
    assert (once, twice, len(cluster.calls)) == (1, 2, 3)


@pytest.mark.parametrize("verdict", [Malformed("no such field"), (WARNED,)])
def test_only_pods_that_were_taken_without_a_word_are_not_judged_again(verdict: Exception | tuple[str, ...]) -> None:
    cluster, approvals = FakeCluster(), Approvals(Clock())
    cluster.verdict, cluster.labels = verdict, {ENFORCE: "restricted"}
    for _ in range(2):
        with pytest.raises(OperatorError):
            admit(cluster, approvals)
    assert cluster.calls.count("judge podtemplates") == 2


def test_the_pods_of_later_stages_are_judged_as_they_will_be() -> None:
    cluster = FakeCluster()
    admit(cluster, workers={**OVERLAID, "gpusPerWorker": 4, "ranksPerWorker": None})
    first, later = (body["template"]["spec"] for body in cluster.judged)
    assert ("nodeSelector" in first, later["nodeSelector"]) == (False, {"pool": "gpu"})
    assert later["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "4"}


def test_a_field_that_no_pod_has_refuses_the_spec_in_the_servers_words() -> None:
    cluster = FakeCluster()
    cluster.verdict = Malformed('unknown field "template.spec.affinity.podAntiAfinity"')
    error = refused(cluster, workers=OVERLAID)
    assert isinstance(error, SpecRefused)
    assert "The pods of prepare" in str(error)
    assert 'unknown field "template.spec.affinity.podAntiAfinity"' in str(error)


def test_an_operator_that_may_not_ask_refuses_no_spec() -> None:
    cluster = FakeCluster()
    cluster.verdict = Refused("podtemplates is forbidden")
    assert type(refused(cluster)) is Refused


@pytest.mark.parametrize("level", ["restricted"])
def test_what_pod_security_keeps_out_is_not_started(level: str) -> None:
    cluster = FakeCluster()
    cluster.verdict, cluster.labels = (WARNED,), {ENFORCE: level}
    error = refused(cluster)
    assert type(error) is Refused
    assert WARNED in str(error)


@pytest.mark.parametrize(
    ("warning", "labels"),
    [
        (WARNED, {}),
        (WARNED, {ENFORCE: "baseline"}),
        (WARNED, {ENFORCE: "privileged"}),
        (WARNED, Refused("namespaces is forbidden")),
        ("spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14", {ENFORCE: "restricted"}),
    ],
)
def test_a_warning_alone_keeps_nothing_out(warning: str, labels: dict[str, str] | Exception) -> None:
    cluster = FakeCluster()
    cluster.verdict, cluster.labels = (warning,), labels
    admit(cluster)


def test_a_violation_of_a_lower_level_is_kept_out_by_a_higher_one() -> None:
    cluster = FakeCluster()
    cluster.verdict, cluster.labels = (WARNED.replace("restricted:", "baseline:"),), {ENFORCE: "restricted"}
    assert type(refused(cluster)) is Refused


def test_a_job_that_is_not_admitted_names_and_makes_nothing() -> None:
    world = World(refusal=SpecRefused("no"))
    before = world.job.status
    with pytest.raises(SpecRefused):
        world.step()
    assert (world.log, world.job.status) == ([], before)


def test_only_the_first_attempt_of_a_job_is_asked_about() -> None:
    world = World()
    world.run()
    ((child, num_stages),) = world.admitted
    assert (child.endswith("-prepare-1"), num_stages) == (True, 5)
