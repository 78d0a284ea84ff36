"""What a page shows is what its commands print; commands that need a finished run are for its reader."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is in the dev group only")

import make_data

from support.pages import Shown, shown
from support.tree import ROOT

REPEATED = {"walkthrough.md": 7, "training.md": 7}
"""Pages, and how many of their commands can be repeated at least."""
COMMANDS = [
    pytest.param(one, id=f"{page} {number}")
    for page in REPEATED
    for number, one in enumerate(shown(page), start=1)
    if one.can_be_repeated
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    tiny = folder / "examples" / "tiny"
    make_data.write_all(tiny / "data")
    for name in ("towers", "llava-finetune.yaml"):
        (tiny / name).symlink_to(ROOT / "examples" / "tiny" / name)
    (folder / "runs").mkdir()
    return folder


@pytest.mark.parametrize(("page", "at_least"), REPEATED.items())
def test_a_page_can_be_repeated(page: str, at_least: int) -> None:
    assert sum(one.can_be_repeated for one in shown(page)) >= at_least


@pytest.mark.parametrize("one", COMMANDS)
def test_a_command_prints_what_is_shown(one: Shown, clone: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", one.command], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout + done.stderr).rstrip() == one.output.rstrip()
