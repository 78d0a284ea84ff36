"""Scoring costs a person no waiting for libraries that it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.golden import golden

HEAVY = {"numpy", "openpyxl", "pandas", "rich", "torch", "transformers", "pydantic", "PIL"}


def loaded_by(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("module", ["scorereport", "results", "prompts"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    assert not HEAVY & loaded_by(f"import llava_trainer.scoring.{module}")


def test_scoring_json_answers_loads_nothing_heavy() -> None:
    paths = [str(golden("mmbench/dev.tsv")), str(golden("mmbench/dev_answers.json"))]
    code = "from pathlib import Path; from llava_trainer.scoring.scorereport import score_file"
    assert not HEAVY & loaded_by(f"{code}; score_file(*map(Path, {paths!r})).to_table()")
