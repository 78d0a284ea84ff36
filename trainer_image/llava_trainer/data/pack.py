"""Which samples an optimizer step takes, and how they are packed and spread over the ranks.

The order depends on seed and epoch only, never on the number of ranks: a step sees the same samples on one GPU and on
sixty-four. Every rank gets the same number of packs in a step, empty ones where it has nothing left, because under
ZeRO-3 every rank must run the same sequence of modules.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from llava_contract.v1alpha1.training import Order
from llava_trainer.data.grouping import grouped_order
from llava_trainer.errors import BadData, InvalidSpec

__all__ = ["Batching", "EpochPlan", "Pack", "Sizes", "Step", "plan_epoch", "plan_once"]


@dataclass(frozen=True, slots=True)
class Batching:
    """How samples are grouped: samples per optimizer step, ranks, positions per pack, and the seed of the order."""

    global_batch: int
    world_size: int
    pack_length: int
    order: Order = Order.SHUFFLED
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Pack:
    """Samples that share one row of positions; `length` counts their positions, images expanded."""

    sample_indices: tuple[int, ...]
    length: int


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step: packs_by_rank[rank] is equally long for every rank; `num_labels` counts all ranks."""

    packs_by_rank: tuple[tuple[Pack, ...], ...]
    num_labels: int

    @property
    def num_positions(self) -> int:
        """Positions in this step over all ranks: tokens, and every patch of an image."""
        return sum(pack.length for packs in self.packs_by_rank for pack in packs)

    @property
    def num_samples(self) -> int:
        """Samples in this step over all ranks."""
        return sum(len(pack.sample_indices) for packs in self.packs_by_rank for pack in packs)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is counted of each sample: positions with its images expanded, predicted tokens, tokens, and images."""

    positions: Sequence[int]
    labels: Sequence[int]
    tokens: Sequence[int]
    """An image as one."""
    images: Sequence[int]


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """All steps of one epoch; a step is worked out when it is asked for, so that a resume costs nothing."""

    batching: Batching
    order: tuple[int, ...]
    sizes: Sizes

    @property
    def num_steps(self) -> int:
        """Optimizer steps in this epoch."""
        return len(self.order) // self.batching.global_batch

    def step(self, index: int) -> Step:
        """Pack the samples of step `index`, from 0."""
        if not 0 <= index < self.num_steps:
            raise IndexError(f"step {index} of an epoch with {self.num_steps}")
        size = self.batching.global_batch
        return _step(self.order[index * size : (index + 1) * size], self.sizes, self.batching)


def plan_epoch(sizes: Sizes, *, batching: Batching, epoch: int) -> EpochPlan:
    """Plan one epoch over samples of these sizes.

    The last step is filled up with the first samples of the epoch's order, as the published recipes do. Raises
    InvalidSpec for numbers below 1 and BadData when there is no sample.
    """
    counts = {len(column) for column in (sizes.positions, sizes.labels, sizes.tokens, sizes.images)}
    assert len(counts) == 1, counts
    for name in ("global_batch", "world_size", "pack_length"):
        if getattr(batching, name) < 1:
            raise InvalidSpec(f"{name} is {getattr(batching, name)}; it must be at least 1.")
    if not len(sizes.positions):
        raise BadData("The prepared set holds no sample; look at its audit for the rows that were left out.")
    order = _order(sizes, batching, epoch)
    num_steps = -(-len(order) // batching.global_batch)
    return EpochPlan(batching, tuple(islice(cycle(order), num_steps * batching.global_batch)), sizes)


def plan_once(sizes: Sizes, *, batching: Batching) -> Iterator[Step]:
    """Plan one pass over samples of these sizes in their own order, each once: the last step may be a smaller one."""
    everyone = range(len(sizes.positions))
    for start in range(0, len(everyone), batching.global_batch):
        chosen = everyone[start : start + batching.global_batch]
        yield _step(chosen, sizes, batching)


def _step(chosen: Sequence[int], sizes: Sizes, batching: Batching) -> Step:
    by_rank = _spread(chosen, sizes.positions, batching.world_size)
    packed = [_pack(indices, sizes.positions, batching.pack_length) for indices in by_rank]
    num_packs = max(map(len, packed))
    filled = (tuple(packs) + (Pack((), 0),) * (num_packs - len(packs)) for packs in packed)
    return Step(tuple(filled), sum(int(sizes.labels[i]) for i in chosen))


def _order(sizes: Sizes, batching: Batching, epoch: int) -> list[int]:
    if batching.order is Order.LENGTH_GROUPED:
        has_image = [count > 0 for count in sizes.images]
        seed = batching.seed + epoch
        return grouped_order(sizes.tokens, has_image, global_batch=batching.global_batch, seed=seed)
    order = list(range(len(sizes.positions)))
    random.Random(f"llava {batching.seed} {epoch}").shuffle(order)  # noqa: S311  (an order, not a secret)
    return order


def _spread(indices: Sequence[int], lengths: Sequence[int], world_size: int) -> list[list[int]]:
    """Give the longest sample left to the rank with the fewest positions so far."""
    by_rank: list[list[int]] = [[] for _ in range(world_size)]
    load = [(0, rank) for rank in range(world_size)]
    for index in _longest_first(indices, lengths):
        positions, rank = heapq.heappop(load)
        by_rank[rank].append(index)
        heapq.heappush(load, (positions + int(lengths[index]), rank))
    return by_rank


def _pack(indices: Sequence[int], lengths: Sequence[int], pack_length: int) -> list[Pack]:
    """Put each sample into the first pack with room; one that is longer than a pack gets its own."""
    packs: list[list[int]] = []
    filled: list[int] = []
    for index in _longest_first(indices, lengths):
        length = int(lengths[index])
        place = next((p for p, used in enumerate(filled) if used + length <= pack_length), len(packs))
        if place == len(packs):
            packs.append([])
            filled.append(0)
        packs[place].append(index)
        filled[place] += length
    return [Pack(tuple(members), length) for members, length in zip(packs, filled, strict=True)]


def _longest_first(indices: Sequence[int], lengths: Sequence[int]) -> list[int]:
    return sorted(indices, key=lambda index: (-int(lengths[index]), index))
