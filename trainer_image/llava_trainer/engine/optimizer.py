"""The rule that changes the weights: AdamW, and a learning rate that is a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, assert_never

import torch

from llava_contract.v1alpha1.training import Schedule

__all__ = ["LearningRate", "make_adamw"]

_WARMUP_FROM: Final = 1e-5  # of the peak rate, as XTuner's published runs
_BETAS: Final = (0.9, 0.999)


@dataclass(frozen=True, slots=True)
class LearningRate:
    """The rate of every step: a linear rise to `peak`, then a fall to 0 in the given shape.

    Published runs move their rate with every micro-batch and update with that of the last one; so does this, unless the
    rise would then be over before the first update: such short runs move it by the step and rise for one.
    """

    peak: float
    total_steps: int
    warmup_ratio: float
    shape: Schedule
    accumulation: int = 1

    @property
    def warmup(self) -> int:
        """How long the rise takes: in micro-batches, in a short run in steps; never all of them."""
        return min(1, self.total_steps - 1) if self._is_short else self._published_warmup

    @property
    def _published_warmup(self) -> int:
        return int(self.warmup_ratio * self.total_steps * self.accumulation)

    @property
    def _is_short(self) -> bool:
        return self.warmup_ratio > 0 and self._published_warmup <= self.accumulation

    def at(self, step: int) -> float:
        """The rate of step `step`, counted from 0; the peak is reached at the rise's last moment."""
        assert 0 <= step < self.total_steps, f"step {step} of {self.total_steps}"
        per_step = 1 if self._is_short else self.accumulation
        moment, end = (step + 1) * per_step - 1, self.total_steps * per_step
        if moment < self.warmup:
            share = moment / max(1, self.warmup - 1)
            return self.peak * (_WARMUP_FROM + (1 - _WARMUP_FROM) * share)
        done = (moment - self.warmup) / (end - self.warmup)
        match self.shape:
            case Schedule.COSINE:
                return self.peak * 0.5 * (1 + math.cos(math.pi * done))
            case Schedule.LINEAR:
                return self.peak * (1 - done)
            case Schedule.CONSTANT:
                return self.peak
            case _:
                assert_never(self.shape)


def make_adamw(parameters: Iterable[torch.nn.Parameter], *, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over all trainable parameters in one group; the rate is set at each step."""
    return torch.optim.AdamW(list(parameters), lr=0.0, betas=_BETAS, eps=1e-8, weight_decay=weight_decay)
