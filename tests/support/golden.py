"""Where the golden vectors are: copies in tests/data, the full set beside the repository where someone has it."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[1] / "data"
_FULL_SET = Path(__file__).resolve().parents[3] / "shared" / "golden"


def golden(name: str) -> Path:
    """Path of a golden file or folder; the copy in tests/data first, and a skip where there is neither."""
    for root in (DATA, _FULL_SET):
        if (root / name).exists():
            return root / name
    pytest.skip(f"{name} is neither in tests/data nor in ../shared/golden")
