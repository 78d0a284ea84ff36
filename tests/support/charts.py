"""The chart as helm sees it: rendered, judged and installed; skipped where there is no helm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.tree import ROOT

CHART = ROOT / "helm" / "llava-operator"
RELEASE, NAMESPACE = "demo", "llava-system"
_KUBERNETES = "1.34.0"

Body = dict[str, Any]


def helm(*words: str, said: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm, which HELM or the PATH names."""
    program = shutil.which(os.environ.get("HELM", "helm"))
    if program is None:
        pytest.skip("helm is not there: put it on the PATH or name it by HELM")
    return subprocess.run([program, *words], input=said, capture_output=True, text=True, check=False, timeout=120)


def rendered(**values: Any) -> list[Body]:
    """Render the chart with these values over its own, the kinds left out unless they are asked for."""
    return [body for body in yaml.safe_load_all(_rendered(json.dumps({"crds": {"enabled": False}, **values}))) if body]


@cache
def _rendered(values: str) -> str:
    done = helm(
        "template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", _KUBERNETES, "--values", "-",
        said=values,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(**values: Any) -> str:
    """Say why helm does not take these values; empty when it does."""
    done = helm("lint", str(CHART), "--strict", "--kube-version", _KUBERNETES, "--values", "-", said=json.dumps(values))
    return "" if done.returncode == 0 else done.stdout + done.stderr


def of_kind(bodies: list[Body], kind: str) -> list[Body]:
    """Choose the objects of one kind."""
    return [body for body in bodies if body["kind"] == kind]


def the(bodies: list[Body], kind: str) -> Body:
    """Give the only object of a kind."""
    (found,) = of_kind(bodies, kind)
    return found


def chart_files() -> list[Path]:
    """Every file of the chart that is read as a template."""
    return sorted(path for path in (CHART / "templates").rglob("*") if path.is_file())
