"""Packing: one order for every number of ranks, balanced, and the same number of packs everywhere."""

from __future__ import annotations

from itertools import chain

import pytest

from llava_contract.v1alpha1.training import Order
from llava_trainer.data.pack import Batching, EpochPlan, Pack, Sizes, Step, plan_epoch, plan_once
from llava_trainer.errors import BadData, InvalidSpec

LENGTHS = [100, 900, 300, 2500, 50, 700, 700, 10, 400, 600, 1000, 80]


def sizes(lengths: list[int]) -> Sizes:
    """Every third sample is text only."""
    images = [int(place % 3 > 0) for place in range(len(lengths))]
    return Sizes(lengths, [length // 10 for length in lengths], lengths, images)


def plan(batching: Batching, lengths: list[int] = LENGTHS, epoch: int = 0) -> EpochPlan:
    return plan_epoch(sizes(lengths), batching=batching, epoch=epoch)


def test_grouped_rows_of_a_step_are_of_one_kind_but_for_the_last_group() -> None:
    lengths = list(range(100, 148))
    whole = plan(Batching(4, 2, 4096, order=Order.LENGTH_GROUPED), lengths)
    kinds = [{place % 3 > 0 for place in members(whole.step(index))} for index in range(whole.num_steps)]
    assert ([len(kind) for kind in kinds[:9]], len(set(whole.order))) == ([1] * 9, 48)


def members(step: Step) -> list[int]:
    return sorted(chain.from_iterable(pack.sample_indices for packs in step.packs_by_rank for pack in packs))


TABLE = [  # lengths of one step, ranks, pack length -> packs by rank, as lengths
    ([4, 3, 2, 1], 1, 10, [[10]]),
    ([4, 3, 2, 1], 1, 5, [[5, 5]]),
    ([4, 3, 2, 1], 2, 5, [[5], [5]]),
    ([6, 3, 3], 2, 6, [[6], [6]]),
    ([6, 3, 3], 2, 5, [[6, 0], [3, 3]]),
    ([9, 1], 2, 5, [[9], [1]]),
    ([5], 3, 5, [[5], [0], [0]]),
    ([5, 5, 5, 5], 2, 5, [[5, 5], [5, 5]]),
]


@pytest.mark.parametrize(("lengths", "world_size", "pack_length", "want"), TABLE)
def test_one_step(lengths: list[int], world_size: int, pack_length: int, want: list[list[int]]) -> None:
    step = plan(Batching(len(lengths), world_size, pack_length), lengths).step(0)
    assert [[pack.length for pack in packs] for packs in step.packs_by_rank] == want


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("pack_length", [1, 1000, 4096])
def test_every_sample_is_taken_once_and_every_rank_has_equal_packs(world_size: int, pack_length: int) -> None:
    whole = plan(Batching(4, world_size, pack_length))
    steps = [whole.step(i) for i in range(whole.num_steps)]
    assert sorted(chain.from_iterable(map(members, steps))) == list(range(len(LENGTHS)))
    for step in steps:
        assert len({len(packs) for packs in step.packs_by_rank}) == 1
        assert step.num_labels == sum(LENGTHS[i] // 10 for i in members(step))


def test_a_pack_is_no_longer_than_allowed_unless_it_is_one_sample() -> None:
    whole = plan(Batching(6, 2, 1000))
    for pack in chain(*chain(*(whole.step(i).packs_by_rank for i in range(whole.num_steps)))):
        assert pack.length == sum(LENGTHS[i] for i in pack.sample_indices)
        assert pack.length <= 1000 or len(pack.sample_indices) == 1


def test_the_ranks_do_not_change_what_a_step_sees() -> None:
    few, many = plan(Batching(4, 1, 4096)), plan(Batching(4, 4, 512))
    assert [members(few.step(i)) for i in range(3)] == [members(many.step(i)) for i in range(3)]


@pytest.mark.parametrize(("seed", "epoch", "same"), [(0, 0, True), (1, 0, False), (0, 1, False)])
def test_the_order_follows_seed_and_epoch(seed: int, epoch: int, same: bool) -> None:
    assert (plan(Batching(4, 2, 999, seed=seed), epoch=epoch).order == plan(Batching(4, 2, 999)).order) is same


def test_the_order_is_the_same_on_every_python() -> None:
    assert plan(Batching(4, 1, 4096)).order == (7, 10, 5, 11, 8, 4, 0, 2, 3, 9, 1, 6)


@pytest.mark.parametrize(("num", "global_batch", "steps"), [(12, 4, 3), (12, 5, 3), (3, 8, 1), (665_298, 128, 5198)])
def test_the_last_step_is_filled_up_from_the_first(num: int, global_batch: int, steps: int) -> None:
    whole = plan_epoch(sizes([1] * num), batching=Batching(global_batch, 2, 4096), epoch=0)
    assert (whole.num_steps, len(whole.order)) == (steps, steps * global_batch)
    assert whole.order[num:] == (whole.order[:num] * 8)[: len(whole.order) - num]


def test_an_empty_pack_stands_where_nothing_is_left() -> None:
    assert plan(Batching(1, 2, 4096), [5]).step(0).packs_by_rank == ((Pack((0,), 5),), (Pack((), 0),))


@pytest.mark.parametrize("batching", [Batching(0, 1, 1), Batching(1, 0, 1), Batching(1, 1, 0)])
def test_numbers_below_one_are_refused(batching: Batching) -> None:
    with pytest.raises(InvalidSpec, match="at least 1"):
        plan(batching)


def test_nothing_to_train_on_is_bad_data() -> None:
    with pytest.raises(BadData):
        plan(Batching(1, 1, 1), [])


@pytest.mark.parametrize("index", [-1, 3])
def test_there_is_no_step_outside_the_epoch(index: int) -> None:
    with pytest.raises(IndexError):
        plan(Batching(4, 1, 4096)).step(index)


@pytest.mark.parametrize("world_size", [1, 3])
def test_one_pass_takes_every_sample_once_in_its_own_order(world_size: int) -> None:
    steps = list(plan_once(sizes(LENGTHS), batching=Batching(5, world_size, 1000)))
    assert [members(step) for step in steps] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
    assert [step.num_labels for step in steps] == [sum(LENGTHS[i] // 10 for i in members(step)) for step in steps]
    assert all(len({len(packs) for packs in step.packs_by_rank}) == 1 for step in steps)


def test_a_step_counts_its_positions() -> None:
    assert plan(Batching(len(LENGTHS), 2, 4096)).step(0).num_positions == sum(LENGTHS)
