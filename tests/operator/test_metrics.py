"""What the operator counts about itself, as Prometheus reads it."""

from __future__ import annotations

import pytest

Metrics = pytest.importorskip("llava_operator.metrics", reason="the operator extra is not installed: make init").Metrics
kube = pytest.importorskip("llava_operator.kube", reason="the operator extra is not installed: make init")

JOBS = "llavatrainjobs"


def test_requests_are_counted_by_verb_and_kind() -> None:
    metrics = Metrics(queue_depth=lambda: 0, is_leader=lambda: True)
    metrics.asked("list", "pods"), metrics.asked("list", "pods")
    assert b'llava_operator_api_requests_total{kind="pods",verb="list"} 2.0' in metrics.text()


@pytest.mark.parametrize(
    ("method", "path", "want"),
    [
        ("GET", "/api/v1/namespaces/team/pods", ("list", "pods")),
        ("GET", "/api/v1/pods", ("list", "pods")),
        ("GET", "/api/v1/namespaces/team/configmaps/one", ("get", "configmaps")),
        ("GET", "/api/v1/namespaces/team", ("get", "namespaces")),
        ("POST", "/apis/kubeflow.org/v1/namespaces/team/pytorchjobs", ("create", "pytorchjobs")),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/team/leases/one", ("update", "leases")),
        ("PATCH", "/apis/llava.dev/v1alpha1/namespaces/team/llavatrainjobs/x/status", ("patch", f"{JOBS}/status")),
        ("DELETE", "/apis/kubeflow.org/v1/namespaces/team/pytorchjobs/x", ("delete", "pytorchjobs")),
    ],
)  # fmt: skip
def test_a_request_is_counted_under_the_words_that_allow_it(method: str, path: str, want: tuple[str, str]) -> None:
    assert kube.verb_of(method, path) == want
