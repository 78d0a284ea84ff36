"""Where batches come from: the plan says which samples a step takes, prepared sets hold them, a thread runs ahead."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import torch

from llava_trainer.data.batch import Batch, make_batch, seen_images
from llava_trainer.data.pack import Batching, EpochPlan, Pack, Sizes, Step, plan_epoch, plan_once
from llava_trainer.data.shards import ImageSet, TokenSet

__all__ = ["Feed"]


@dataclass(frozen=True)
class Feed:
    """All steps of a stage for one rank; `patches` are the positions that an image takes."""

    tokens: TokenSet
    images: ImageSet
    batching: Batching
    rank: int
    patches: int
    device: torch.device
    _epochs: dict[int, EpochPlan] = field(default_factory=dict, init=False)

    @cached_property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the data."""
        return self._epoch(0).num_steps

    def cursor(self, step: int) -> tuple[int, int]:
        """The epoch of step `step`, counted from 0 over all epochs, and the step within it."""
        return divmod(step, self.steps_per_epoch)

    def plan(self, step: int) -> Step:
        """What all ranks do in a step."""
        epoch, index = self.cursor(step)
        return self._epoch(epoch).step(index)

    def once(self) -> Iterator[Step]:
        """Every sample once, in the order of the set."""
        return plan_once(self._sizes(), batching=self.batching)

    def batches(self, plan: Step) -> Iterator[Batch]:
        """This rank's packs of a step, in order; the next one is made while the last one trains."""
        packs = plan.packs_by_rank[self.rank]
        with ThreadPoolExecutor(max_workers=1) as ahead:
            coming = ahead.submit(self._batch, packs[0])
            for following in packs[1:]:
                batch, coming = coming.result(), ahead.submit(self._batch, following)
                yield batch.to(self.device)
            yield coming.result().to(self.device)

    def _batch(self, pack: Pack) -> Batch:
        samples = self.tokens.read(pack.sample_indices)
        keys = seen_images(samples)
        pixels_IHWC = self.images.read(keys) if keys else None  # noqa: N806
        settings, sources = self.images.settings, self.tokens.sources
        return make_batch(samples, pixels_IHWC, patches=self.patches, settings=settings, sources=sources)

    def _epoch(self, epoch: int) -> EpochPlan:
        if epoch not in self._epochs:
            self._epochs.clear()  # an order of half a million rows: one is enough
            self._epochs[epoch] = plan_epoch(self._sizes(), batching=self.batching, epoch=epoch)
        return self._epochs[epoch]

    def _sizes(self) -> Sizes:
        tokens = self.tokens
        columns = (tokens.lengths(self.patches), tokens.num_labels, tokens.lengths(1), tokens.num_slots)
        return Sizes(*(column.tolist() for column in columns))
