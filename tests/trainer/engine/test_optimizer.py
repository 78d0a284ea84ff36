"""The learning rate equals that of the published runs, and is sane where those were not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llava_contract.v1alpha1.training import Schedule
from llava_trainer.engine.optimizer import LearningRate
from support.golden import golden

LONG_RUNS = [run for run in json.loads(golden("lr_schedule.json").read_text()) if run["iters"] > 1000]


def cosine(total_steps: int, *, warmup_ratio: float = 0.03, peak: float = 1.0) -> LearningRate:
    return LearningRate(peak, total_steps, warmup_ratio, Schedule.COSINE)


@pytest.mark.golden
@pytest.mark.parametrize("run", LONG_RUNS, ids=lambda run: run["name"])
def test_rates_equal_the_published_schedule(run: dict[str, Any]) -> None:
    rate = cosine(run["total"], peak=run["base_lr"])
    assert rate.warmup == run["warmup_end"]
    got = {step: rate.at(int(step)) for step in run["lr_at"]}
    assert got == pytest.approx(run["lr_at"], rel=1e-9)


@pytest.mark.golden
@pytest.mark.parametrize("accumulation", [2, 4])
def test_an_update_takes_the_published_rate_of_its_last_micro_batch(accumulation: int) -> None:
    run = next(run for run in LONG_RUNS if run["total"] % 4 == 0)
    rate = LearningRate(run["base_lr"], run["total"] // accumulation, 0.03, Schedule.COSINE, accumulation)
    want = {int(at): value for at, value in run["lr_at"].items() if (int(at) + 1) % accumulation == 0}
    assert {at: rate.at((at + 1) // accumulation - 1) for at in want} == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("accumulation", [1, 2, 128])
@pytest.mark.parametrize("total_steps", [2, 3, 10, 34, 50, 67])
def test_short_runs_rise_and_then_come_near_the_peak(total_steps: int, accumulation: int) -> None:
    rate = LearningRate(1.0, total_steps, 0.03, Schedule.COSINE, accumulation)
    rates = [rate.at(step) for step in range(total_steps)]
    assert rates[0] < max(rates)
    assert max(rates) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("total_steps", [2, 10, 66])
def test_any_warm_up_has_a_step(total_steps: int) -> None:
    assert cosine(total_steps).at(0) == pytest.approx(1e-5)


def test_a_single_step_trains_at_the_peak() -> None:
    assert cosine(1).at(0) == 1.0


def test_no_warm_up_when_none_is_asked_for() -> None:
    assert cosine(10, warmup_ratio=0.0).at(0) == 1.0


@pytest.mark.parametrize(("shape", "last"), [(Schedule.LINEAR, 0.1), (Schedule.CONSTANT, 1.0)])
def test_other_shapes_end_where_they_should(shape: Schedule, last: float) -> None:
    assert LearningRate(1.0, 10, 0.0, shape).at(9) == pytest.approx(last)
