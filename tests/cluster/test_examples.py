"""Every file in examples/ is one that an API server takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.kubectl import Kubectl
from support.tree import ROOT, tracked_files

EXAMPLES = [path for path in tracked_files() if path.suffix == ".yaml" and ROOT / "examples" in path.parents]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_example_is_accepted(path: Path, namespace: str) -> None:
    done = Kubectl(namespace).tried("apply", "--dry-run=server", "--filename", str(path))
    assert (done.returncode, done.stderr) == (0, "")
