"""Every way of tuning with every ZeRO stage and offload: what it saves, that all else stays, and who holds what.

The trainer lane trains a choice in which every two settings meet; `make test-modes` trains every cell.
"""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest

from llava_contract.modes import Mode
from llava_contract.v1alpha1.training import Offload, TuningMode
from support import mode_cases
from support.launcher import run_config, start_script
from support.mode_table import ALLOWED, REFUSED, Cell, Trained, half_precision, pairwise, write_cells
from support.tiny_model import write_llm, write_tower

pytestmark = pytest.mark.timeout(900)

CHOICE = pairwise(ALLOWED)
CELLS = [pytest.param(Cell(mode), id=str(mode), marks=() if mode in CHOICE else pytest.mark.modes) for mode in ALLOWED]
RANKS = 2


@pytest.fixture(scope="module")
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """One gang trains all cells that the selected tests ask for."""
    wanted: dict[Cell, None] = {}
    for item in request.session.items:
        if getattr(item, "module", None) is request.module and "trained" in item.fixturenames:
            cell = item.callspec.params["cell"] if hasattr(item, "callspec") else None
            wanted |= dict.fromkeys([cell, cell.without_zero()] if cell else half_precision())
    return train(list(wanted), tmp_path_factory.mktemp("modes"))


def train(cells: list[Cell], folder: Path) -> dict[str, Trained]:
    write_cells(folder, cells)
    write_llm(folder / "llama")
    write_tower(folder / "tower")
    ended = start_script(mode_cases, run_config(RANKS), folder).wait(timeout_s=800)
    assert ended.code == 0, ended.log
    return {name: Trained.from_json(row) for name, row in json.loads((folder / "trained.json").read_text()).items()}


def is_trained(name: str, mode: Mode) -> bool:
    """Whether a mode trains the tensor of that name; the tiny tower's third layer comes after the one that is read."""
    part, _, rest = name.partition(".")
    if part == "projector":
        return True
    tuning = mode.llm if part == "llm" else mode.vision_tower
    if tuning is TuningMode.FULL:
        return part == "llm" or not rest.startswith(("model.encoder.layers.2", "model.post_layernorm"))
    return "lora_" in name


@pytest.mark.parametrize("cell", CELLS)
def test_a_mode_saves_what_it_trained_and_nothing_else(trained: dict[str, Trained], cell: Cell) -> None:
    found = trained[str(cell)]
    is_buffer = {name for name in found.before if name.endswith(("position_ids", "inv_freq"))}
    assert set(found.saved) == {name for name in found.before if is_trained(name, cell.mode)} - is_buffer
    assert found.saved.items() <= found.after.items()


@pytest.mark.parametrize("cell", CELLS)
def test_a_mode_changes_what_it_saves_and_no_other_byte(trained: dict[str, Trained], cell: Cell) -> None:
    found = trained[str(cell)]
    assert {name for name in found.before if found.before[name] != found.after[name]} == set(found.saved)
    assert found.before.keys() == found.after.keys()


@pytest.mark.parametrize("cell", CELLS)
def test_zero_and_offload_do_not_change_the_training(trained: dict[str, Trained], cell: Cell) -> None:
    assert trained[str(cell)].losses == pytest.approx(trained[str(cell.without_zero())].losses, rel=0, abs=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_ranks_share_what_the_stage_says(trained: dict[str, Trained], cell: Cell) -> None:
    found, stage = trained[str(cell)], cell.mode.zero_stage
    padding = RANKS * len(found.saved)
    for rank in found.holdings:
        assert rank.states == pytest.approx(found.num_trained / (RANKS if stage else 1), abs=padding)
        assert rank.parameters == pytest.approx(found.num_trained / (RANKS if stage == 3 else 1), abs=padding)
        assert rank.whole == []


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_offloaded_is_in_host_memory(trained: dict[str, Trained], cell: Cell) -> None:
    moved = {Offload.NONE: [], Offload.OPTIMIZER: ["optimizer"], Offload.PARAMETERS: ["optimizer", "parameters"]}
    for rank in trained[str(cell)].holdings:
        assert rank.offloads == moved[cell.mode.offload]
        assert rank.state_devices == ["cpu" if "optimizer" in rank.offloads else rank.device]
        assert rank.parameter_devices == ["cpu" if "parameters" in rank.offloads else rank.device]


@pytest.mark.parametrize("mode", REFUSED, ids=str)
def test_what_deepspeed_would_ignore_is_refused(mode: Mode) -> None:
    assert mode.refusal is not None
    assert "DeepSpeed ignores it at stage" in mode.refusal


@pytest.mark.modes
def test_qlora_drifts_no_further_between_stages_in_bf16_than_lora(trained: dict[str, Trained]) -> None:
    gaps: dict[TuningMode, list[float]] = {TuningMode.LORA: [], TuningMode.QLORA: []}
    for one, other in combinations(half_precision(), 2):
        if (one.mode.llm, one.seed) == (other.mode.llm, other.seed):
            pairs = zip(trained[str(one)].losses, trained[str(other)].losses, strict=True)
            gaps[one.mode.llm].append(max(abs(a - b) for a, b in pairs))
    assert max(gaps[TuningMode.QLORA]) <= max(gaps[TuningMode.LORA])
