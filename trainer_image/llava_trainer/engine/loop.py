"""The training loop: after each step, what was measured is told, what is due is saved, a request to leave is heard."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from llava_contract.result import CheckpointRef
from llava_trainer.checkpoint.save import Moment, Saver
from llava_trainer.engine.feed import Feed
from llava_trainer.engine.optimizer import LearningRate
from llava_trainer.engine.step import Agreed, StepInput, StepReport, run_step
from llava_trainer.engine.watchdog import Watchdog
from llava_trainer.engine.zero import ZeroEngine
from llava_trainer.ranks import Ranks, leaving
from llava_trainer.tracking.history import History, HistoryRow
from llava_trainer.tracking.progress import Measured, StageContext
from llava_trainer.tracking.trackers import Trackers

__all__ = ["Outcome", "SaveRule", "Training", "train"]

_LOG = logging.getLogger(__name__)
_LOG_INTERVAL_S = 10.0


@dataclass(frozen=True, slots=True)
class SaveRule:
    """When a checkpoint is due: every so many steps, and every so many minutes as well."""

    every_steps: int
    every_minutes: int | None


@dataclass(frozen=True)
class Training:
    """Everything that a stage's training needs, made ready."""

    engine: ZeroEngine
    feed: Feed
    rate: LearningRate
    saver: Saver
    history: History
    trackers: Trackers
    save_rule: SaveRule
    hang_timeout_s: float

    @property
    def ranks(self) -> Ranks:
        """Who trains."""
        return self.saver.ranks


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where training ended: loss of the last step that this attempt did, if any, and the last checkpoint."""

    loss: float | None
    checkpoint: CheckpointRef


def train(training: Training, context: StageContext, *, done_steps: int, newest: CheckpointRef | None) -> Outcome:
    """Train from step `done_steps` to the end and save the result.

    A request to leave is agreed on at the end of a step: all ranks save, then raise Terminated or Interrupted. Raises
    NaNLoss, and whatever the storage raises.
    """
    total = training.rate.total_steps
    tell = _Teller(training, context)
    report: StepReport | None = None
    if newest is not None:
        context.progress.committed(newest)
    context.progress.report(done_steps, total)
    with context.stop.deferred(), Watchdog(training.hang_timeout_s) as watchdog:
        for step in range(done_steps, total):
            report = _step(training, step, wish=Agreed(context.stop.received, tell.is_save_due))
            tell.step(report, num_samples=training.feed.batching.global_batch)
            watchdog.beat()
            if step + 1 == total or report.agreed.signal or report.agreed.is_save_due or _is_due(training, step + 1):
                newest = _save(training, step + 1)
                tell.saved(newest)
                watchdog.beat()
            if report.agreed.signal and step + 1 < total:
                raise leaving(report.agreed.signal, saved_step=step + 1)
    assert newest is not None, f"no step from {done_steps} to {total}, and no checkpoint to go on from"
    return Outcome(report.loss if report else None, newest)


def _step(training: Training, step: int, *, wish: Agreed) -> StepReport:
    plan = training.feed.plan(step)
    given = StepInput(
        step=step,
        batches=training.feed.batches(plan),
        num_packs=len(plan.packs_by_rank[training.ranks.rank]),
        num_labels=plan.num_labels,
        learning_rate=training.rate.at(step),
        seed=training.saver.seed,
        num_sources=len(training.feed.tokens.sources),
    )
    return run_step(training.engine, given, ranks=training.ranks, wish=wish)


def _is_due(training: Training, done_steps: int) -> bool:
    return done_steps % training.save_rule.every_steps == 0


def _save(training: Training, done_steps: int) -> CheckpointRef:
    if training.ranks.rank == 0:
        training.history.flush()
    epoch, epoch_step = training.feed.cursor(done_steps)
    at = Moment(done_steps, training.rate.total_steps, epoch, epoch_step)
    return training.saver.save(training.engine.fragments(), training.engine.shapes, at=at)


@dataclass
class _Teller:
    """What rank 0 tells the world, and its clock for saves by the minute."""

    training: Training
    context: StageContext
    _last_s: float = field(default_factory=time.monotonic)
    _saved_s: float = field(default_factory=time.monotonic)
    _logged_s: float = float("-inf")
    _pace: deque[float] = field(default_factory=lambda: deque(maxlen=20))
    _by_source: dict[str, float] = field(default_factory=dict)

    @property
    def is_save_due(self) -> bool:
        minutes = self.training.save_rule.every_minutes
        is_due = minutes is not None and time.monotonic() - self._saved_s >= 60 * minutes
        return is_due and self.context.rank == 0

    def step(self, report: StepReport, *, num_samples: int) -> None:
        if self.context.rank != 0:
            return
        now = time.monotonic()
        seconds, self._last_s = now - self._last_s, now
        self._pace.append(seconds)
        per_second = num_samples * len(self._pace) / sum(self._pace)
        by_source = self._name(report.source_losses)
        self._by_source |= by_source
        measured = Measured(report.loss, report.learning_rate, report.grad_norm, per_second, dict(self._by_source))
        done, total = report.step + 1, self.training.rate.total_steps
        row = HistoryRow(
            done, report.loss, report.learning_rate, report.grad_norm, report.num_labels, seconds, by_source
        )
        self.training.history.add(row)
        self.training.trackers.add(done, _scalars(measured, by_source))
        self.context.progress.report(done, total, measured=measured)
        if now - self._logged_s >= _LOG_INTERVAL_S or done == total:
            self._logged_s = now
            told = (done, total, report.loss, report.learning_rate, report.grad_norm, per_second)
            _LOG.info("step %d/%d  loss %.4f  rate %.3g  gradient norm %.3g  %.1f samples/s%s", *told, self._shares())

    def _name(self, losses: Sequence[float | None]) -> dict[str, float]:
        names = self.training.feed.tokens.sources[: len(losses)]
        return {name: loss for name, loss in zip(names, losses, strict=True) if loss is not None}

    def _shares(self) -> str:
        """The latest loss of each source, where there are several."""
        return "".join(f"  {name} {loss:.4f}" for name, loss in self._by_source.items())

    def saved(self, checkpoint: CheckpointRef) -> None:
        self._saved_s = time.monotonic()
        self.context.progress.committed(checkpoint)
        self.training.trackers.flush()


def _scalars(measured: Measured, by_source: Mapping[str, float]) -> dict[str, float]:
    numbers = {name: value for name, value in asdict(measured).items() if isinstance(value, int | float)}
    named = {f"train/{name}": value for name, value in numbers.items()}
    return named | {f"source/{name}": loss for name, loss in by_source.items()}
