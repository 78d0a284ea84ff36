"""Which samples an optimizer step takes, and how they are packed and spread over the ranks.

The order depends on seed and epoch only, never on the number of ranks: the same steps see the same samples on one GPU and on
sixty-four. Every rank gets the same number of packs in a step, empty ones where it has nothing left, because under ZeRO-3 every
rank must run the same sequence of modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Batching:
    """How samples are grouped: samples per optimizer step, ranks, positions per pack, and the seed of the order."""

    global_batch: int
    world_size: int
    pack_length: int
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Pack:
    """Samples that share one row of positions; `length` counts their positions, images expanded."""

    sample_indices: tuple[int, ...]
    length: int


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step: packs_by_rank[rank] has the same length for every rank; `num_labels` counts all ranks."""

    packs_by_rank: tuple[tuple[Pack, ...], ...]
    num_labels: int

    @property
    def num_samples(self) -> int:
        """Samples in this step over all ranks."""
        return sum(len(pack.sample_indices) for packs in self.packs_by_rank for pack in packs)


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """All steps of one epoch; a step is worked out when it is asked for, so that a resume costs nothing."""

    batching: Batching
    order: tuple[int, ...]
    lengths: Sequence[int]
    num_labels: Sequence[int]

    @property
    def num_steps(self) -> int:
        """Optimizer steps in this epoch."""
        return len(self.order) // self.batching.global_batch

    def step(self, index: int) -> Step:
        """Pack the samples of step `index` (from 0)."""
        raise NotImplementedError


def plan_epoch(lengths: Sequence[int], num_labels: Sequence[int], *, batching: Batching, epoch: int) -> EpochPlan:
    """Plan one epoch over samples of `lengths` positions (images expanded) and `num_labels` predicted tokens each."""
    raise NotImplementedError
