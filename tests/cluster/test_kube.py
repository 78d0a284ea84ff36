"""The calls of kube.py against a real API server: every answer is a value or an error of ours."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from llava_operator.errors import AlreadyExists, Conflict, NotLeader, Refused, Transient
from support.specs import PLAIN

kube = pytest.importorskip("llava_operator.kube", reason="the operator extra is not installed: make init")


@pytest.fixture(scope="module")
def cluster() -> Any:
    return kube.connect()


def config_map(namespace: str, name: str = "one", **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
    }  # fmt: skip


def train_job(namespace: str) -> dict[str, Any]:
    return {**PLAIN, "metadata": {"name": "demo", "namespace": namespace}}


def test_absent_is_none(cluster: Any, namespace: str) -> None:
    assert cluster.read("configmaps", namespace, name="none") is None


def test_what_is_created_is_read(cluster: Any, namespace: str) -> None:
    made = cluster.create("configmaps", config_map(namespace))
    assert cluster.read("configmaps", namespace, name="one")["metadata"]["uid"] == made["metadata"]["uid"]


def test_a_dry_run_makes_nothing(cluster: Any, namespace: str) -> None:
    cluster.dry_run("configmaps", config_map(namespace))
    assert cluster.read("configmaps", namespace, name="one") is None


def test_a_taken_name_already_exists(cluster: Any, namespace: str) -> None:
    cluster.create("configmaps", config_map(namespace))
    with pytest.raises(AlreadyExists):
        cluster.create("configmaps", config_map(namespace))


def test_only_what_an_owner_owns_is_listed(cluster: Any, namespace: str) -> None:
    cluster.create("configmaps", config_map(namespace, "mine", **{"llava.dev/owner-uid": "u1"}))
    cluster.create("configmaps", config_map(namespace, "other", **{"llava.dev/owner-uid": "u2"}))
    owned = cluster.list_owned("configmaps", namespace, owner_uid="u1")
    assert [body["metadata"]["name"] for body in owned] == ["mine"]


def test_deleting_needs_the_identity(cluster: Any, namespace: str) -> None:
    made = cluster.create("configmaps", config_map(namespace))
    cluster.delete("configmaps", namespace, name="one", uid=str(uuid.uuid4()))
    assert cluster.read("configmaps", namespace, name="one") is not None
    cluster.delete("configmaps", namespace, name="one", uid=made["metadata"]["uid"])
    cluster.delete("configmaps", namespace, name="one", uid=made["metadata"]["uid"])
    assert cluster.read("configmaps", namespace, name="one") is None


def test_a_body_that_the_server_does_not_accept_is_refused_in_its_words(cluster: Any, namespace: str) -> None:
    with pytest.raises(Refused, match="a lowercase RFC 1123 subdomain"):
        cluster.create("configmaps", config_map(namespace, "NO"))


def test_status_is_written_at_the_version_that_was_read(cluster: Any, namespace: str) -> None:
    made = cluster.create("llavatrainjobs", train_job(namespace))
    version = made["metadata"]["resourceVersion"]
    status = {"phase": "Running", "artifacts": {"audit": "/a"}}
    cluster.patch_status("llavatrainjobs", namespace, name="demo", status=status, version=version)
    with pytest.raises(Conflict):
        cluster.patch_status("llavatrainjobs", namespace, name="demo", status={"phase": "Failed"}, version=version)
    assert cluster.read("llavatrainjobs", namespace, name="demo")["status"]["phase"] == "Running"


def test_the_status_of_what_is_gone_is_a_conflict(cluster: Any, namespace: str) -> None:
    with pytest.raises(Conflict, match="llavatrainjobs none is gone"):
        cluster.patch_status("llavatrainjobs", namespace, name="none", status={"phase": "Running"}, version="1")


def test_null_removes_from_status(cluster: Any, namespace: str) -> None:
    version = cluster.create("llavatrainjobs", train_job(namespace))["metadata"]["resourceVersion"]
    for status in ({"progress": {"summary": "1/2", "step": 1, "totalSteps": 2}}, {"progress": None}):
        done = cluster.patch_status("llavatrainjobs", namespace, name="demo", status=status, version=version)
        version = done["metadata"]["resourceVersion"]
    assert "progress" not in done["status"]


def test_whoever_does_not_lead_writes_nothing(namespace: str) -> None:
    def refuse() -> None:
        raise NotLeader("not the leader")

    cluster = kube.connect(may_write=refuse)
    with pytest.raises(NotLeader):
        cluster.create("configmaps", config_map(namespace))
    assert cluster.read("configmaps", namespace, name="one") is None


def test_a_server_out_of_reach_is_transient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }  # fmt: skip
    (tmp_path / "config").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(Transient):
        kube.connect(request_timeout_s=1.0).read("configmaps", "default", name="one")


def test_nowhere_to_go_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(Refused, match="KUBECONFIG"):
        kube.connect()


@pytest.mark.parametrize("kind", ["pods", "llavatrainjobs", "pytorchjobs"])
def test_a_kind_that_is_installed_is_served(cluster: Any, crds: None, kubeflow: None, kind: str) -> None:  # noqa: ARG001
    assert cluster.serves(kind)


def test_a_kind_of_a_group_that_nobody_serves_is_absent(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube, "PATHS", {"nothings": "apis/nobody.example/v1", "ghosts": "api/v1"})
    assert [cluster.serves(kind) for kind in ("nothings", "ghosts")] == [False, False]
