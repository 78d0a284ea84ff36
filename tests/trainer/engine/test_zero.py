"""Every ZeRO stage on one and two ranks: the same training, and state that moves freely between them."""

from __future__ import annotations

import json

import pytest

from support import gang_cases
from support.launcher import run_config, start_script

pytestmark = pytest.mark.timeout(600)

STAGES = range(4)
Trace = list[list[float]]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trace]:
    """Three gangs one after the other: one rank, two ranks that resume its states, one rank that resumes theirs."""
    folder = tmp_path_factory.mktemp("gangs")
    for num_ranks in (1, 2, 1):
        ended = start_script(gang_cases, run_config(num_ranks), folder).wait()
        assert ended.code == 0, ended.log
    found: dict[str, Trace] = {}
    for file in sorted(folder.glob("cases-*.json")):
        found |= json.loads(file.read_text())
    return found


def distance(trace: Trace, other: Trace) -> float:
    assert len(trace) == len(other)
    return max(
        abs(a - b) for row, other_row in zip(trace, other, strict=True) for a, b in zip(row, other_row, strict=True)
    )


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("world", [1, 2])
def test_every_stage_trains_like_one_process_without_zero(traces: dict[str, Trace], stage: int, world: int) -> None:
    assert distance(traces[f"fp32 z{stage} w{world}"], traces["fp32 z0 w1"]) < 1e-6


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("world", [1, 2])
def test_bf16_stays_near_fp32(traces: dict[str, Trace], stage: int, world: int) -> None:
    assert distance(traces[f"bf16 z{stage} w{world}"], traces["fp32 z0 w1"]) < 5e-3


@pytest.mark.parametrize("source", STAGES)
@pytest.mark.parametrize("target", STAGES)
@pytest.mark.parametrize(("saved_by", "resumed_by"), [(1, 2), (2, 1), (1, 1)])
def test_a_checkpoint_resumes_on_any_stage_and_number_of_ranks(
    traces: dict[str, Trace], source: int, target: int, saved_by: int, resumed_by: int
) -> None:
    resumed = traces[f"fp32 z{source} w{saved_by} -> z{target} w{resumed_by}"]
    assert distance(resumed, traces[f"fp32 z{source} w{saved_by}"][3:]) < 1e-6


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resume_on_the_same_stage_and_ranks_is_exact(traces: dict[str, Trace], stage: int, precision: str) -> None:
    name = f"{precision} z{stage} w1"
    assert traces[f"{name} -> z{stage} w1"] == traces[name][3:]
