"""What is generated is what is committed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.tree import ROOT

GENERATORS = (
    ("llava_contract.crd", "crds"),
    ("llava_contract.crd", "helm/llava-operator/files/crds"),
    ("llava_contract.reference", "docs/reference"),
)


@pytest.mark.parametrize(("module", "folder"), GENERATORS, ids=[folder for _, folder in GENERATORS])
def test_make_generate_leaves_no_diff(module: str, folder: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", module, str(tmp_path)], check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made
    assert made == {name: (ROOT / folder / name).read_text() for name in made}
