"""The training loop: after each step, what was measured is told, what is due is done, a request to leave is heard."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from llava_contract.result import CheckpointRef
from llava_trainer.checkpoint.save import Moment, Saver
from llava_trainer.data.pack import Step
from llava_trainer.engine.feed import Feed
from llava_trainer.engine.optimizer import LearningRate
from llava_trainer.engine.sampling import Sampler
from llava_trainer.engine.spikes import Spike, SpikeWatch
from llava_trainer.engine.step import Agreed, StepInput, StepReport, blamed, run_step
from llava_trainer.engine.teller import Teller
from llava_trainer.engine.validation import Validator
from llava_trainer.engine.watchdog import Watchdog
from llava_trainer.engine.zero import ZeroEngine
from llava_trainer.errors import Diverged
from llava_trainer.ranks import Ranks, leaving
from llava_trainer.tracking.history import History
from llava_trainer.tracking.progress import StageContext
from llava_trainer.tracking.trackers import Trackers

__all__ = ["Outcome", "SaveRule", "Training", "train"]


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
    spikes: SpikeWatch | None = None
    """None: a loss may go where it will."""
    validator: Validator | None = None
    sampler: Sampler | None = None

    @property
    def ranks(self) -> Ranks:
        """Who trains."""
        return self.saver.ranks

    @property
    def has_given_up(self) -> bool:
        """Whether held-out rows say that further steps do no good."""
        return self.validator is not None and self.validator.has_given_up

    @property
    def best(self) -> CheckpointRef | None:
        """The checkpoint that held-out rows prefer."""
        best = self.validator.validations.best if self.validator else None
        return best.checkpoint if best else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where training ended: after how many steps, the loss of the last step that this attempt did, if any, and where
    the state lies that the stage hands on: the last one, or the one that held-out rows prefer."""

    done_steps: int
    loss: float | None
    checkpoint: CheckpointRef


def train(training: Training, context: StageContext, *, done_steps: int, newest: CheckpointRef | None) -> Outcome:
    """Train from step `done_steps` to the end and save the result.

    A request to leave is agreed on at the end of a step: all ranks save, then raise Terminated or Interrupted. Raises
    Diverged, and whatever the storage raises.
    """
    total = training.rate.total_steps
    teller = Teller(context, training.history, training.trackers, training.feed.tokens.sources, total)
    report: StepReport | None = None
    if newest is not None:
        context.progress.committed(newest)
    context.progress.report(done_steps, total)
    with context.stop.deferred(), Watchdog(training.hang_timeout_s) as watchdog:
        loop = _Loop(training, context, teller, watchdog, newest)
        loop.look_around(done_steps)
        while done_steps < total and not training.has_given_up:
            report = loop.step(done_steps)
            done_steps += 1
            if not report.agreed.signal or done_steps == total:
                loop.look_around(done_steps)
            if done_steps == total or report.agreed.signal or report.agreed.is_save_due or loop.is_due(done_steps):
                loop.save(done_steps)
            if report.agreed.signal and done_steps < total:
                raise leaving(report.agreed.signal, saved_step=done_steps)
    handed = training.best or loop.newest
    assert handed is not None, f"no step from {done_steps} to {total}, and no checkpoint to go on from"
    return Outcome(done_steps, report.loss if report else None, handed)


@dataclass
class _Loop:
    """What one turn of the loop is made of; `newest` is the newest commit."""

    training: Training
    context: StageContext
    teller: Teller
    watchdog: Watchdog
    newest: CheckpointRef | None
    _saved_s: float = field(default_factory=time.monotonic)

    def step(self, step: int) -> StepReport:
        """Do step `step`, from 0, and tell of it; Diverged when its loss is none or has left its course."""
        training = self.training
        plan = training.feed.plan(step)
        given = _input(training, plan, step)
        wish = Agreed(self.context.stop.received, self._is_save_due())
        report = run_step(training.engine, given, ranks=training.ranks, wish=wish)
        self.teller.step(report, plan)
        self.watchdog.beat()
        spike = training.spikes.add(step, report.loss, report.rows) if training.spikes else None
        if spike:
            raise _left_its_course(spike, report)
        return report

    def look_around(self, done_steps: int) -> None:
        """Measure held-out rows and ask for answers, where that is due."""
        validator, sampler = self.training.validator, self.training.sampler
        total = self.training.rate.total_steps
        if validator and validator.is_due(done_steps, total):
            validation = validator.measure(done_steps, self.watchdog.beat)
            self.teller.validated(validation, is_best=validator.is_best(done_steps))
            if self.newest and self.newest.step == done_steps:
                validator.validations.saved(self.newest)
        if sampler and sampler.is_due(done_steps, total):
            sampler.ask(done_steps)
            self.watchdog.beat()
        self.teller.rested()

    def is_due(self, done_steps: int) -> bool:
        """Whether the state has to be kept: by its step, or because held-out rows prefer it, or as the last one."""
        validator = self.training.validator
        by_rows = validator is not None and (validator.is_best(done_steps) or validator.has_given_up)
        return by_rows or done_steps % self.training.save_rule.every_steps == 0

    def save(self, done_steps: int) -> None:
        """Commit the state and every log up to it; then older ones may go, but not the one that is preferred."""
        training = self.training
        is_first = training.ranks.rank == 0
        if is_first:
            training.history.flush()
            if training.sampler:
                training.sampler.answers.flush()
        epoch, epoch_step = training.feed.cursor(done_steps)
        at = Moment(done_steps, training.rate.total_steps, epoch, epoch_step)
        self.newest = training.saver.save(training.engine.fragments(), training.engine.shapes, at=at)
        self._saved_s = time.monotonic()
        if training.validator:
            training.validator.validations.saved(self.newest)
            if is_first:
                training.validator.validations.flush()
        training.saver.prune(self.newest, best=training.best)
        self.teller.saved(self.newest)
        self.watchdog.beat()

    def _is_save_due(self) -> bool:
        minutes = self.training.save_rule.every_minutes
        is_due = minutes is not None and time.monotonic() - self._saved_s >= 60 * minutes
        return is_due and self.context.rank == 0


def _input(training: Training, plan: Step, step: int) -> StepInput:
    return StepInput(
        step=step,
        batches=training.feed.batches(plan),
        num_packs=len(plan.packs_by_rank[training.ranks.rank]),
        num_labels=plan.num_labels,
        learning_rate=training.rate.at(step),
        seed=training.saver.seed,
        num_sources=len(training.feed.tokens.sources),
    )


def _left_its_course(spike: Spike, report: StepReport) -> Diverged:
    return Diverged(
        f"Step {spike.step + 1}: the loss left its course of {spike.course:.3g} for {spike.loss:.3g} and has not come "
        f"back by step {report.step + 1} ({report.loss:.3g}). Rows of that batch: {blamed(spike.rows)}. Look at these "
        "rows, lower the learning rate, or write stopOnLossSpike: false."
    )
