"""What the chart runs: settings that arrive, pods that Pod Security admits, extras that are made when asked for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from support.charts import NAMESPACE, Body, chart_files, of_kind, rendered, the
from support.tree import ROOT

settings = pytest.importorskip("llava_operator.settings")


def pod(**values: Any) -> Body:
    return dict(the(rendered(**values), "Deployment")["spec"]["template"]["spec"])


def container(**values: Any) -> Body:
    (found,) = pod(**values)["containers"]
    return dict(found)


def test_every_setting_of_the_operator_is_told() -> None:
    flags = {action.dest for action in settings._parser({})._actions} - {"help"}
    assert {one["name"] for one in container()["env"]} == {f"LLAVA_{flag.upper()}" for flag in flags}


@pytest.mark.parametrize(("values", "field", "want"), [
    ({}, "namespaces", ()),
    ({"watchNamespaces": ["b", "a"]}, "namespaces", ("a", "b")),
    ({}, "lease_name", "demo-llava-operator"),
    ({"leaseName": "mine"}, "lease_name", "mine"),
    ({"trainerImage": "registry.example/trainer:7"}, "trainer_image", "registry.example/trainer:7"),
    ({"workers": 9}, "num_workers", 9),
    ({"resyncSeconds": 60}, "resync_s", 60),
    ({"port": 9090}, "port", 9090),
    ({"extraEnv": [{"name": "LLAVA_WORKERS", "value": "2"}]}, "num_workers", 2),
])  # fmt: skip
def test_a_value_arrives_in_the_operators_settings(values: dict[str, Any], field: str, want: object) -> None:
    env = {one["name"]: str(one.get("value", "filled")) for one in container(**values)["env"]}
    assert getattr(settings.parse([], env), field) == want


def test_the_pod_says_who_and_where_it_is() -> None:
    fields = {
        one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in container()["env"] if "valueFrom" in one
    }
    assert fields == {"LLAVA_OWN_NAMESPACE": "metadata.namespace", "LLAVA_IDENTITY": "metadata.name"}


def test_the_pod_is_admitted_as_restricted_and_writes_nowhere() -> None:
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert "volumes" not in pod()


def test_probes_ask_where_the_operator_answers() -> None:
    found = container(port=9090)
    asked = {found[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")}
    assert (asked, found["ports"]) == ({"http"}, [{"name": "http", "containerPort": 9090}])


def test_the_pod_may_leave_as_long_as_the_operator_takes() -> None:
    run = pytest.importorskip("llava_operator.cluster_run")
    assert pod()["terminationGracePeriodSeconds"] > 2 * run._LEAVE_S


@pytest.mark.parametrize(("values", "image"), [
    ({}, "llava-operator:0.1.0"),
    ({"image": {"repository": "registry.example/op", "tag": "7"}}, "registry.example/op:7"),
    ({"image": {"digest": "sha256:" + "0" * 64}}, "llava-operator@sha256:" + "0" * 64),
])  # fmt: skip
def test_the_image_is_named_by_tag_or_digest(values: dict[str, Any], image: str) -> None:
    assert container(**values)["image"] == image


@pytest.mark.parametrize(("values", "count"), [
    ({}, 0), ({"replicas": 2}, 1), ({"replicas": 2, "podDisruptionBudget": {"enabled": False}}, 0),
])  # fmt: skip
def test_a_disruption_budget_is_made_where_there_are_replicas_to_spare(values: dict[str, Any], count: int) -> None:
    assert len(of_kind(rendered(**values), "PodDisruptionBudget")) == count


@pytest.mark.parametrize("kind", ["PodMonitor", "ServiceMonitor", "PrometheusRule"])
def test_monitoring_is_made_when_it_is_asked_for(kind: str) -> None:
    asked = {kind[0].lower() + kind[1:]: {"enabled": True, "labels": {"release": "prometheus"}}}
    made = of_kind(rendered(metrics=asked), kind)
    assert not of_kind(rendered(), kind)
    assert [one["metadata"]["labels"]["release"] for one in made] == ["prometheus"]


def test_what_selects_the_pods_finds_them() -> None:
    bodies = rendered(
        replicas=2, networkPolicy={"enabled": True},
        metrics={"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}},
    )  # fmt: skip
    labels = the(bodies, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    specs = [the(bodies, kind)["spec"] for kind in ("PodDisruptionBudget", "PodMonitor", "Deployment")]
    chosen = [spec["selector"]["matchLabels"] for spec in specs]
    chosen += [
        the(bodies, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        the(bodies, "Service")["spec"]["selector"],
    ]
    assert all(one.items() <= labels for one in chosen)


def test_every_alert_has_metrics_that_exist_and_a_runbook_that_exists() -> None:
    metrics = pytest.importorskip("llava_operator.metrics").Metrics(queue_depth=lambda: 0.0, is_leader=lambda: True)
    metrics.decided("Rest"), metrics.failed("Refused")
    known = set(re.findall(r"^(llava_\w+)", metrics.text().decode(), flags=re.MULTILINE))
    rule = the(
        rendered(metrics={"prometheusRule": {"enabled": True, "runbookBaseUrl": "https://docs.example"}}),
        "PrometheusRule",
    )
    for alert in rule["spec"]["groups"][0]["rules"]:
        assert set(re.findall(r"llava_\w+", alert["expr"])) <= known, alert["alert"]
        runbook = alert["annotations"]["runbook_url"].removeprefix("https://docs.example/")
        assert (ROOT / "docs" / "runbooks" / runbook).exists(), runbook


def test_everything_lies_in_the_releases_namespace() -> None:
    bodies = rendered(replicas=2, networkPolicy={"enabled": True})
    placed = {body["metadata"].get("namespace") for body in bodies if not body["kind"].startswith("Cluster")}
    assert placed == {NAMESPACE}


def test_more_objects_may_use_the_charts_names() -> None:
    extra = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": '{{ include "llava-operator.name" . }}-more'},
    }
    assert the(rendered(extraObjects=[extra]), "ConfigMap")["metadata"]["name"] == "demo-llava-operator-more"


def test_no_template_looks_anything_up_in_the_cluster() -> None:
    assert [path.name for path in chart_files() if "lookup " in path.read_text()] == []
