"""Namespaces of tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

kubernetes = pytest.importorskip("kubernetes.client", reason="the operator extra is not installed: make init")


@contextmanager
def made_namespace(client: Any) -> Iterator[str]:
    """A namespace that goes with the block."""
    api = kubernetes.CoreV1Api(client)
    name = f"test-{uuid.uuid4().hex[:8]}"
    api.create_namespace({"metadata": {"name": name}})
    try:
        yield name
    finally:
        api.delete_namespace(name)
