"""The two kinds as the chart installs them: as generated, kept on request, left out on request."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from support.charts import Body, of_kind, rendered
from support.tree import ROOT

WANTED = [yaml.safe_load(file.read_text()) for file in sorted((ROOT / "crds").glob("*.yaml"))]
KEEP = {"helm.sh/resource-policy": "keep"}


def kinds(**crds: Any) -> list[Body]:
    found = of_kind(rendered(crds={"enabled": True, **crds}), "CustomResourceDefinition")
    return sorted(found, key=lambda body: str(body["metadata"]["name"]))


def test_they_are_installed_as_they_were_generated() -> None:
    assert [body["spec"] for body in kinds()] == [body["spec"] for body in WANTED]


@pytest.mark.parametrize(("keep", "annotations"), [(True, KEEP), (False, None)])
def test_they_stay_when_the_release_goes_if_asked(keep: bool, annotations: dict[str, str] | None) -> None:
    assert [body["metadata"].get("annotations") for body in kinds(keep=keep)] == [annotations] * 2


def test_their_names_are_kept() -> None:
    assert [body["metadata"]["name"] for body in kinds()] == [body["metadata"]["name"] for body in WANTED]


def test_they_are_left_out_on_request() -> None:
    assert not of_kind(rendered(crds={"enabled": False}), "CustomResourceDefinition")
