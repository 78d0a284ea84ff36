"""Length-and-modality grouping against the orders that XTuner's own sampler drew."""

from __future__ import annotations

import json
from itertools import cycle, islice
from typing import Any

import pytest

from llava_trainer.data.grouping import grouped_order
from support.golden import golden

CASES: list[dict[str, Any]] = json.loads(golden("length_grouped.json").read_text())["cases"]


def drawn(case: dict[str, Any], epoch: int) -> list[int]:
    """Give the order of an epoch, filled up to whole global batches as a step is."""
    lengths = case["modality_length"]
    order = grouped_order(
        [abs(length) for length in lengths],
        [length > 0 for length in lengths],
        global_batch=case["per_device_batch_size"] * case["world_size"],
        seed=case["seed"] + epoch,
    )
    assert sorted(order) == list(range(len(lengths)))
    return list(islice(cycle(order), case["total_size"]))


@pytest.mark.parametrize("case", CASES, ids=[str(case["seed"]) for case in CASES])
def test_every_rank_gets_what_xtuner_gave_it(case: dict[str, Any]) -> None:
    order, num_ranks = drawn(case, 0), case["world_size"]
    assert [order[rank::num_ranks] for rank in range(num_ranks)] == case["ranks_epoch0"]


@pytest.mark.parametrize("case", CASES, ids=[str(case["seed"]) for case in CASES])
def test_another_epoch_is_another_order(case: dict[str, Any]) -> None:
    last = case["last_rank_epoch1"]
    assert drawn(case, 1)[case["world_size"] - 1 :: case["world_size"]][: len(last)] == last
