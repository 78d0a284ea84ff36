"""Custom resource definitions on a cluster of the tests."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from support.eventually import eventually
from support.tree import ROOT

kubernetes = pytest.importorskip("kubernetes", reason="the operator extra is not installed: make init")

NEW_KINDS_S = 90.0
"""Until the garbage collector takes the children of a kind that has just come: it asks for kinds every 30 s."""


def install_ours(client: Any) -> None:
    """Create our kinds, or bring them up to date."""
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        definition = yaml.safe_load(file.read_text())
        install(client, definition)
        # An older one that was there would silently drop new fields.
        api = kubernetes.client.ApiextensionsV1Api(client)
        api.patch_custom_resource_definition(definition["metadata"]["name"], {"spec": definition["spec"]})


def install(client: Any, definition: dict[str, Any]) -> None:
    """Create a kind, if it is not there, and wait until it is served."""
    api = kubernetes.client.ApiextensionsV1Api(client)
    try:
        api.create_custom_resource_definition(definition)
    except kubernetes.client.ApiException as error:
        if error.status != 409:
            raise

    spec = definition["spec"]
    kind = (spec["group"], spec["versions"][0]["name"], spec["names"]["plural"])

    def is_served() -> bool:
        # Established comes first; for a moment more the server answers that its storage is being made.
        try:
            kubernetes.client.CustomObjectsApi(client).list_cluster_custom_object(*kind, limit=1)
        except kubernetes.client.ApiException:
            return False
        return True

    eventually(is_served)
