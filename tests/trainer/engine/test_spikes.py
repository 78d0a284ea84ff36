"""What is called a spike, and what is noise."""

from __future__ import annotations

import random

import pytest

from llava_trainer.engine.spikes import SpikeWatch

CALM = [1.0] * 30


def first_told(losses: list[float]) -> tuple[int, int] | None:
    """(the step at which it was told, the step at which it began)."""
    watch = SpikeWatch()
    for step, loss in enumerate(losses):
        if spike := watch.add(step, loss, (f"row {step}",)):
            assert spike.rows == (f"row {spike.step}",)
            return step, spike.step
    return None


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([*CALM, *[3.1] * 5], (34, 30)),
        ([*CALM, *[3.1] * 4, 1.0, *[3.1] * 4], None),
        ([*CALM, *[2.9] * 50], None),
        ([*[1.0] * 9, *[9.0] * 50], None),
        ([10.0, 8.0, 6.0, *[5.0 * 0.9**n for n in range(60)]], None),
        ([*CALM, 40.0, *CALM, *[3.1] * 5], (65, 61)),
        ([*[5.0] * 30, *[11.5] * 5], (34, 30)),
        ([*CALM, 3.1, 4.0, 6.0, 9.0, 12.0], (34, 30)),
    ],
    ids=["leaves", "comes back", "below twice plus one", "no course yet", "falls", "one alone", "from high", "grows"],
)
def test_a_spike_is_five_high_losses_in_a_row(losses: list[float], told: tuple[int, int] | None) -> None:
    assert first_told(losses) == told


@pytest.mark.parametrize("seed", range(20))
def test_the_losses_of_tiny_batches_are_noise(seed: int) -> None:
    """Single short rows: between nothing and six times the mean, each by itself."""
    draw = random.Random(seed)
    assert first_told([draw.expovariate(1.0) for _ in range(5000)]) is None


def test_a_watch_goes_on_where_another_stood() -> None:
    resumed = SpikeWatch.resume([*CALM, 3.1, 3.1])
    assert [resumed.add(step, 3.1, ()) is None for step in (32, 33, 34)] == [True, True, False]
