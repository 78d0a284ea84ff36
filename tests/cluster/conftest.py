"""Tests against a real API server: whichever KUBECONFIG names, in namespaces of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.kinds import install, install_ours
from support.namespaces import made_namespace

kubernetes = pytest.importorskip("kubernetes", reason="the operator extra is not installed: make init")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("KUBECONFIG"):
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="KUBECONFIG names no cluster"))


@pytest.fixture(scope="session")
def client() -> Any:
    """A client of the API server with its own configuration, whatever KUBECONFIG says later."""
    return kubernetes.config.new_client_from_config(os.environ["KUBECONFIG"])


@pytest.fixture(scope="session")
def crds(client: Any) -> None:
    """Our kinds, as the repository has them."""
    install_ours(client)


@pytest.fixture(scope="session")
def kubeflow_kind() -> dict[str, Any]:
    """A kind that takes any PyTorchJob and does nothing, for where no Training Operator has brought its own."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }  # fmt: skip
    names = {"kind": "PyTorchJob", "listKind": "PyTorchJobList", "plural": "pytorchjobs", "singular": "pytorchjob"}
    spec = {"group": "kubeflow.org", "scope": "Namespaced", "names": names, "versions": [version]}
    kind = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    return {**kind, "metadata": {"name": "pytorchjobs.kubeflow.org"}, "spec": spec}


@pytest.fixture(scope="session")
def kubeflow(client: Any, kubeflow_kind: dict[str, Any]) -> None:
    """PyTorchJobs, whoever has brought them."""
    install(client, kubeflow_kind)


@pytest.fixture
def namespace(client: Any, crds: None) -> Iterator[str]:  # noqa: ARG001  they have to be there first
    """A namespace of one test."""
    with made_namespace(client) as name:
        yield name


@pytest.fixture(scope="module")
def shared_namespace(client: Any, crds: None) -> Iterator[str]:  # noqa: ARG001  they have to be there first
    """A namespace of all tests of a module."""
    with made_namespace(client) as name:
        yield name


@pytest.fixture(scope="session")
def nodes(client: Any) -> list[str]:
    """Names of at least two nodes on which the Training Operator's pods run."""
    ready = [
        node.metadata.name
        for node in kubernetes.client.CoreV1Api(client).list_node().items
        if any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)
    ]
    gangs = kubernetes.client.AppsV1Api(client).list_deployment_for_all_namespaces(
        label_selector="control-plane=kubeflow-training-operator"
    )
    if len(ready) < 2 or not any(deployment.status.ready_replicas for deployment in gangs.items):
        pytest.skip("needs two ready nodes and the Training Operator: .ci/with-cluster starts them")
    return ready
