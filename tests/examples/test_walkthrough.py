"""What the walkthrough shows is what its commands print; blocks that need a finished run are for its reader."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is in the dev group only")

import make_data

from support.tree import ROOT


def commands() -> Iterator[tuple[str, str]]:
    """Each command with what stands below it."""
    text = (ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8")
    for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
        for shown in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            end = "\nEOF\n" if "<<'EOF'" in shown else next(e for e in (")\n", "\n") if e in shown)
            command, _, output = shown.partition(end)
            yield command + end, output


RUNNABLE = [shown for shown in commands() if "runs/tiny" not in shown[0]]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    tiny = folder / "examples" / "tiny"
    make_data.write_all(tiny / "data")
    for name in ("towers", "llava-finetune.yaml"):
        (tiny / name).symlink_to(ROOT / "examples" / "tiny" / name)
    (folder / "runs").mkdir()
    return folder


def test_the_walkthrough_can_be_repeated() -> None:
    assert len(RUNNABLE) >= 7


@pytest.mark.parametrize(("command", "output"), RUNNABLE)
def test_a_command_prints_what_is_shown(command: str, output: str, clone: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout + done.stderr).rstrip() == output.rstrip()
