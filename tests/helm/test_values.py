"""Values are refused when nobody knows them, and described where everybody looks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.charts import CHART, helm, refusal

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
# Written by whoever includes the chart, or by Kubernetes' own rules.
OPEN = {"global", "extraEnv.valueFrom", "affinity.nodeAffinity", "affinity.podAffinity", "affinity.podAntiAffinity",
        "topologySpreadConstraints.labelSelector", "extraObjects"}  # fmt: skip


def objects(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if schema.get("type") == "object":
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from objects(inner, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from objects(schema["items"], path)


def test_unknown_keys_are_refused_at_every_level() -> None:
    assert {path for path, schema in objects(SCHEMA) if "additionalProperties" not in schema} == OPEN
    assert all(schema["additionalProperties"] is False for _, schema in objects(SCHEMA) if "properties" in schema)


def test_the_schema_knows_every_value_and_no_other() -> None:
    assert sorted(paths(VALUES, SCHEMA)) == []


def paths(values: dict[str, Any], schema: dict[str, Any], at: str = "") -> Iterator[str]:
    """What only one of both knows."""
    known = set(schema["properties"]) - {"global"}
    # Kubernetes' own fields that have no default here.
    if at not in ("resources.", "affinity."):
        yield from (f"{at}{name}" for name in known ^ set(values))
    for name, value in values.items():
        if isinstance(value, dict) and "properties" in schema["properties"][name]:
            yield from paths(value, schema["properties"][name], f"{at}{name}.")


@pytest.mark.parametrize(("values", "told"), [
    ({"typo": 1}, "typo"),
    ({"crds": {"keeep": True}}, "keeep"),
    ({"metrics": {"podMonitor": {"intervall": "5s"}}}, "intervall"),
    ({"tolerations": [{"keys": "gpu"}]}, "keys"),
    ({"replicas": "two"}, "replicas"),
    ({"watchNamespaces": "team-a"}, "watchNamespaces"),
    ({"watchNamespaces": ["Team_A"]}, "watchNamespaces"),
    ({"image": {"digest": "latest"}}, "digest"),
    ({"port": 80}, "port"),
    ({"workers": 0}, "workers"),
])  # fmt: skip
def test_a_wrong_value_is_refused_by_name(values: dict[str, Any], told: str) -> None:
    assert told in refusal(**values)


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["a"]}, {"replicas": 2}, {"global": {"of": "a parent"}}])
def test_good_values_pass_the_strict_linter(values: dict[str, Any]) -> None:
    assert refusal(**values) == ""


def test_the_readme_lists_every_value(tmp_path: Path) -> None:
    for name in ("README.md", "values.yaml"):
        shutil.copy(CHART / name, tmp_path)
    subprocess.run([sys.executable, str(CHART.parent / "values_table.py"), str(tmp_path)], check=True)
    assert (tmp_path / "README.md").read_text() == (CHART / "README.md").read_text()


def test_the_chart_can_be_packaged(tmp_path: Path) -> None:
    done = helm("package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [path.suffix for path in tmp_path.iterdir()] == [".tgz"]
