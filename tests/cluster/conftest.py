"""Tests against a real API server: whichever KUBECONFIG names, in namespaces of their own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.tree import ROOT

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
    api = kubernetes.client.ApiextensionsV1Api(client)
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        body = yaml.safe_load(file.read_text())
        try:
            api.create_custom_resource_definition(body)
        except kubernetes.client.ApiException as error:
            if error.status != 409:
                raise


@pytest.fixture
def namespace(client: Any, crds: None) -> Iterator[str]:  # noqa: ARG001  they have to be there first
    """A namespace that goes with the test."""
    api = kubernetes.client.CoreV1Api(client)
    name = f"test-{uuid.uuid4().hex[:8]}"
    api.create_namespace({"metadata": {"name": name}})
    yield name
    api.delete_namespace(name)
