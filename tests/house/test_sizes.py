"""Fifteen, sixty, four hundred: the lengths that keep every file readable in one sitting."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from support.tree import PACKAGES, ROOT, functions, python_files

OURS = python_files(*PACKAGES, "examples", "bench")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", OURS, ids=relative)
def test_file_has_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_no_function_has_more_than_60_lines() -> None:
    assert [f for path in OURS for f in functions(path) if f.num_lines > 60] == []


def test_median_function_has_at_most_15_lines() -> None:
    assert statistics.median(f.num_lines for path in OURS for f in functions(path)) <= 15


def test_no_function_takes_more_than_five_positional_parameters() -> None:
    assert [f for path in OURS for f in functions(path) if f.num_parameters > 5] == []


def test_no_test_has_more_than_60_lines() -> None:
    assert [f for path in python_files("tests") for f in functions(path) if f.num_lines > 60] == []
