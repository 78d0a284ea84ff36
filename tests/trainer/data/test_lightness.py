"""Audit and preview cost no waiting: they import nothing beyond the base install."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"numpy", "pandas", "pyarrow", "torch", "transformers"}
LIGHT = ["record", "conversation", "template", "tokenizer", "sample", "images", "audit", "preview", "pack"]


@pytest.mark.parametrize("module", LIGHT)
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import llava_trainer.data.{module}, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not HEAVY & set(loaded)


def test_preparing_needs_no_torch() -> None:
    code = "import llava_trainer.data.prepared, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "transformers"} & set(loaded)
