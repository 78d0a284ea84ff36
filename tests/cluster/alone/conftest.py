"""Tests that play Training Operator and kubelet themselves: on a control plane where nobody else does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.kinds import install, install_ours
from support.own_cluster import own_cluster

kubernetes = pytest.importorskip("kubernetes")


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Path]:
    """KUBECONFIG of an API server without nodes and Training Operator."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    with own_cluster(network=7 - worker % 4) as kubeconfig:
        yield kubeconfig


@pytest.fixture(scope="module", autouse=True)
def named_by_kubeconfig(control_plane: Path) -> Iterator[None]:
    """Let the processes and clients of a test find it, and those of other files their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(control_plane))
        yield


@pytest.fixture(scope="session")
def client(control_plane: Path) -> Any:
    """A client of that API server."""
    return kubernetes.config.new_client_from_config(str(control_plane))


@pytest.fixture(scope="session")
def crds(client: Any) -> None:
    """Our kinds, as the repository has them."""
    install_ours(client)


@pytest.fixture(scope="session")
def kubeflow(client: Any, kubeflow_kind: dict[str, Any]) -> None:
    """A PyTorchJob that nobody reconciles."""
    install(client, kubeflow_kind)
