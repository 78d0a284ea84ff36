"""What rank 0 tells the world of each step: progress, history, trackers, and a line in the log now and then."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from llava_contract.result import CheckpointRef
from llava_trainer.data.pack import Step
from llava_trainer.engine.step import StepReport
from llava_trainer.tracking.history import History, HistoryRow
from llava_trainer.tracking.progress import Measured, StageContext
from llava_trainer.tracking.trackers import Trackers
from llava_trainer.tracking.validations import Validation

__all__ = ["Teller"]

_LOG = logging.getLogger(__name__)
_LOG_INTERVAL_S = 10.0
_PACE_STEPS = 20
"""Speeds are means over so many steps."""
_GIB = 1 << 30


@dataclass
class Teller:
    """Measures the time between its calls; on ranks other than 0 it says nothing."""

    context: StageContext
    history: History
    trackers: Trackers
    sources: Sequence[str]
    """Names of what the losses of a step by source are about."""
    total_steps: int
    _last_s: float = field(default_factory=time.monotonic)
    _logged_s: float = float("-inf")
    _pace: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=_PACE_STEPS))
    """Seconds, samples and positions of the last steps."""
    _by_source: dict[str, float] = field(default_factory=dict)
    _last: Measured = field(default_factory=Measured)
    """What the last step measured, and the last held-out loss."""

    def step(self, report: StepReport, plan: Step) -> None:
        """Tell of a step that was done."""
        if self.context.rank != 0:
            return
        now = time.monotonic()
        seconds, self._last_s = now - self._last_s, now
        self._pace.append((seconds, plan.num_samples, plan.num_positions))
        names = self.sources[: len(report.source_losses)]
        told = zip(names, report.source_losses, strict=True)
        by_source = {name: loss for name, loss in told if loss is not None}
        self._by_source |= by_source
        measured = self._measured(report)
        done = report.step + 1
        self._last = measured
        self.history.add(
            HistoryRow(done, report.loss, report.learning_rate, report.grad_norm, report.num_labels, seconds, by_source)
        )
        self.trackers.add(done, _scalars(measured, by_source))
        self.context.progress.report(done, self.total_steps, measured=measured)
        if now - self._logged_s >= _LOG_INTERVAL_S or done == self.total_steps:
            self._logged_s = now
            _LOG.info("%s", _line(measured, done, self.total_steps))

    def validated(self, validation: Validation, *, is_best: bool) -> None:
        """Tell what the held-out rows say; the time that they took is not the next step's."""
        if self.context.rank == 0:
            self._last = replace(self._last, validation_loss=validation.loss)
            self.context.progress.report(validation.step, self.total_steps, measured=self._last)
            named = {f"validation/{name}": loss for name, loss in validation.by_source.items()}
            self.trackers.add(validation.step, {"validation/loss": validation.loss, **named})
            said = "the lowest so far" if is_best else "not the lowest"
            _LOG.info("after step %d: held-out loss %.4f, %s", validation.step, validation.loss, said)

    def saved(self, checkpoint: CheckpointRef) -> None:
        """Tell of a committed checkpoint."""
        self.context.progress.committed(checkpoint)
        self.trackers.flush()

    def rested(self) -> None:
        """Say that what went before was no training: the next step's time begins now."""
        self._last_s = time.monotonic()

    def _measured(self, report: StepReport) -> Measured:
        seconds, samples, positions = (sum(column) for column in zip(*self._pace, strict=True))
        return Measured(
            loss=report.loss,
            learning_rate=report.learning_rate,
            grad_norm=report.grad_norm,
            samples_per_second=samples / seconds,
            tokens_per_second=positions / seconds,
            memory_bytes=report.memory_bytes,
            validation_loss=self._last.validation_loss,
            source_losses=dict(self._by_source),
        )


def _line(told: Measured, done: int, total: int) -> str:
    """One line for people."""
    words = [f"step {done}/{total}  loss {told.loss:.4f}  rate {told.learning_rate:.3g}"]
    words.append(f"gradient norm {told.grad_norm:.3g}  {told.samples_per_second:.1f} samples/s")
    words.append(f"{told.tokens_per_second:,.0f} tokens/s  {(told.memory_bytes or 0) / _GIB:.1f} GiB")
    words += [f"{name} {loss:.4f}" for name, loss in told.source_losses.items()]
    return "  ".join(words)


def _scalars(measured: Measured, by_source: Mapping[str, float]) -> dict[str, float]:
    numbers = asdict(replace(measured, validation_loss=None)).items()
    named = {f"train/{name}": value for name, value in numbers if isinstance(value, int | float)}
    return named | {f"source/{name}": loss for name, loss in by_source.items()}
