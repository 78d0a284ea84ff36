"""The loss of rows that are never trained on: measured alike by every rank, it decides what a stage hands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from llava_contract.v1alpha1.watching import ValidationSpec
from llava_trainer.engine.feed import Feed
from llava_trainer.engine.step import by_source, means
from llava_trainer.engine.zero import ZeroEngine
from llava_trainer.tracking.validations import Validation, Validations

__all__ = ["Validator"]


@dataclass(frozen=True)
class Validator:
    """Measures when it is due and remembers; equal on every rank."""

    spec: ValidationSpec
    feed: Feed
    """Of the held-out rows."""
    engine: ZeroEngine
    validations: Validations

    def is_due(self, done_steps: int, total_steps: int) -> bool:
        """Whether the state after so many steps has to be measured, and has not been."""
        due = done_steps > 0 and (done_steps % self.spec.every_steps == 0 or done_steps == total_steps)
        return due and not self.validations.has(done_steps)

    def measure(self, done_steps: int, beat: Callable[[], None]) -> Validation:
        """Take the loss of all held-out rows, on every rank at the same time; `beat` is called after each batch."""
        names = self.feed.tokens.sources
        sums = torch.zeros(1 + 2 * len(names), dtype=torch.float64, device=self.feed.device)
        num_labels = 0
        with self.engine.resting():
            for plan in self.feed.once():
                num_labels += plan.num_labels
                for batch in self.feed.batches(plan):
                    loss_L = self.engine.losses(batch)  # noqa: N806
                    sums[0] += loss_L.double().sum()
                    sums[1:] += by_source(loss_L, batch.label_sources_L, len(names))
                    beat()
        dist.all_reduce(sums)
        total, *shares = sums.tolist()
        told = {name: loss for name, loss in zip(names, means(shares), strict=True) if loss is not None}
        measured = Validation(done_steps, total / num_labels, told if len(names) > 1 else {})
        self.validations.add(measured)
        return measured

    def is_best(self, done_steps: int) -> bool:
        """Whether no state so far was better than that after so many steps."""
        best = self.validations.best
        return best is not None and best.step == done_steps

    @property
    def has_given_up(self) -> bool:
        """Whether the stage has been patient for long enough."""
        return self.spec.patience is not None and self.validations.num_since_best >= self.spec.patience
