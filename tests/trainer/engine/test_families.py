"""Every family trains in the engine on two ranks, the same whether ZeRO-3 shares its parameters or not.

The trainer lane trains those that are built unlike the others; `make test-modes` trains all.
"""

from __future__ import annotations

import json

import pytest

from support import family_cases
from support.family_cases import CASES, FULL, Case, write_cases
from support.launcher import run_config, start_script

pytestmark = pytest.mark.timeout(600)


CELLS = [pytest.param(case, id=case.name(3), marks=() if case in FULL else pytest.mark.modes) for case in CASES]


@pytest.fixture(scope="module")
def losses(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """One gang trains all cases that the selected tests ask for."""
    folder = tmp_path_factory.mktemp("families")
    items = [item for item in request.session.items if getattr(item, "module", None) is request.module]
    write_cases(folder, [item.callspec.params["case"] for item in items])
    ended = start_script(family_cases, run_config(2), folder).wait(timeout_s=500)
    assert ended.code == 0, ended.log
    found: dict[str, list[float]] = json.loads((folder / "losses.json").read_text())
    return found


@pytest.mark.parametrize("case", CELLS)
def test_a_family_trains_alike_shared_or_not(losses: dict[str, list[float]], case: Case) -> None:
    shared, alone = losses[case.name(3)], losses[case.name(0)]
    assert shared == pytest.approx(alone, rel=0, abs=2e-6)
    assert len(set(alone)) == len(alone)
