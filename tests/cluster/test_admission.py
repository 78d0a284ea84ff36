"""A real API server's verdict on the pods of a job, before anything of the job exists."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from llava_contract.run import JobKind, Stage
from llava_contract.v1alpha1.status import JobStatus, StageStatus
from llava_operator.backends.base import Attempt
from llava_operator.backends.pod_admission import Approvals, admit_pods
from llava_operator.backends.rendering import PodSettings
from llava_operator.core.job import Key
from llava_operator.core.plan import plan_job
from llava_operator.core.runfile import run_config
from llava_operator.errors import Refused, SpecRefused
from support.jobs import SPEC, job

kube = pytest.importorskip("llava_operator.kube", reason="the operator extra is not installed: make init")
kubernetes = pytest.importorskip("kubernetes")

HOST = {"name": "disk", "hostPath": {"path": "/d"}}
NFS = {"name": "disk", "nfs": {"server": "s", "path": "/d"}}
ENFORCED = {"pod-security.kubernetes.io/enforce": "restricted"}
WARNED = {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"}
Judge = Callable[..., None]


@pytest.fixture
def judge(client: Any, namespace: str) -> Judge:
    """Ask about the pods of a job in a namespace that bears labels."""

    def ask(labels: dict[str, str], **overlay: Any) -> None:
        kubernetes.client.CoreV1Api(client).patch_namespace(namespace, {"metadata": {"labels": labels}})
        built = job().wanting(workers={**SPEC["workers"], "podTemplate": overlay}).build()
        plan, key = plan_job(built), Key(JobKind.TRAIN, namespace, "demo")
        named = replace(built, key=key, status=JobStatus(stages=[StageStatus(name=Stage.PREPARE, attempt=1)]))
        first = Attempt("demo-prepare-1", plan.stages[0], run_config(named, plan.stages[0]))
        approvals = Approvals(time.monotonic)
        admit_pods(first, plan, cluster=kube.connect(), settings=PodSettings(image="i"), approvals=approvals)

    return ask


def test_our_own_pods_are_taken_where_pod_security_is_strictest(judge: Judge) -> None:
    judge(ENFORCED)


def test_a_misspelt_affinity_is_refused_by_name(judge: Judge) -> None:
    with pytest.raises(SpecRefused, match=r"unknown field \"template\.spec\.affinity\.podAntiAfinity\""):
        judge({}, affinity={"podAntiAfinity": {"x": 1}})


def test_a_wrong_affinity_is_refused_with_its_path(judge: Judge) -> None:
    terms = [{"matchExpressions": [{"key": "a", "operator": "In"}]}]
    with pytest.raises(SpecRefused, match=r"matchExpressions\[0\]\.values: Required value"):
        judge({}, affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": terms}}})  # fmt: skip


@pytest.mark.parametrize("volume", [HOST, NFS])
def test_a_volume_that_pod_security_keeps_out_is_refused_in_its_words(judge: Judge, volume: dict[str, Any]) -> None:
    with pytest.raises(Refused, match='would violate PodSecurity "restricted:latest": restricted volume types'):
        judge(ENFORCED, volumes=[volume])


def test_a_namespace_that_only_warns_takes_the_pods(judge: Judge) -> None:
    judge(WARNED, volumes=[NFS])
