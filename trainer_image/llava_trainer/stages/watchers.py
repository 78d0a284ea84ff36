"""Who watches a training stage: trackers, held-out rows, sample answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from llava_contract.run import RunConfig, TrainTask
from llava_trainer.data.images import ImageSettings, pixels, prepare
from llava_trainer.data.shards import TokenSet
from llava_trainer.data.template import get_template
from llava_trainer.data.tokenizer import Tokenizer
from llava_trainer.engine.feed import Feed
from llava_trainer.engine.sampling import Sampler
from llava_trainer.engine.validation import Validator
from llava_trainer.engine.zero import ZeroEngine
from llava_trainer.errors import InvalidSpec
from llava_trainer.stages.sample_images import open_sample_images
from llava_trainer.storage import Storage, materialise
from llava_trainer.tracking.identity import RunIdentity
from llava_trainer.tracking.mlflow_run import MlflowRun
from llava_trainer.tracking.stagelog import StageLog
from llava_trainer.tracking.tensorboard import EventFiles
from llava_trainer.tracking.told_answers import ToldAnswers
from llava_trainer.tracking.trackers import Opener, Trackers
from llava_trainer.tracking.validations import Validations
from llava_trainer.tracking.wandb_run import WandbRun

if TYPE_CHECKING:
    from llava_trainer.model.llava import Llava

__all__ = ["Watched", "make_sampler", "make_validator", "open_trackers"]


@dataclass(frozen=True)
class Watched:
    """A training stage as those who watch it see it, after `done_steps` steps of earlier attempts."""

    config: RunConfig
    storage: Storage
    engine: ZeroEngine
    feed: Feed
    done_steps: int

    @property
    def task(self) -> TrainTask:
        """What is trained."""
        assert isinstance(self.config.task, TrainTask)
        return self.config.task

    @property
    def stage(self) -> str:
        """Its name."""
        return self.config.stage.value


def open_trackers(watched: Watched) -> Trackers:
    """Say who is told of the numbers, by rank 0; each library is imported by the thread that tells."""
    if watched.feed.rank != 0:
        return Trackers({})
    spec, identity, storage = watched.task.tracking, RunIdentity.of(watched.config), watched.storage
    openers: dict[str, Opener] = {
        "TensorBoard": partial(EventFiles, storage, watched.stage, done_steps=watched.done_steps)
    }
    if spec.wandb:
        openers["Weights & Biases"] = partial(WandbRun, spec.wandb, identity, storage=storage)
    if spec.mlflow:
        openers["MLflow"] = partial(MlflowRun, spec.mlflow, identity)
    return Trackers(openers)


def make_validator(watched: Watched, held_out: TokenSet | None) -> Validator | None:
    """Measure the held-out rows as often as the spec says; None where it says nothing.

    InvalidSpec when prepare has held none out, because the spec said nothing then.
    """
    spec = watched.task.validation
    if spec is None:
        _forget(watched, Validations)
        return None
    if held_out is None:
        raise InvalidSpec(
            f"spec.{watched.stage}.validation: the rows were prepared before it was written, and none are held out; "
            "remove it, or start a new job."
        )
    validations = Validations.resume(watched.storage, watched.stage, done_steps=watched.done_steps)
    return Validator(spec, replace(watched.feed, tokens=held_out), watched.engine, validations)


def make_sampler(watched: Watched, model: Llava, held_out: TokenSet | None) -> Sampler | None:
    """Ask the prompts of the spec; None where it has none, or where no row has an image and none is named.

    MissingInput or BadData, naming the field, for an image that cannot be read.
    """
    task = watched.task
    if task.samples is None:
        _forget(watched, ToldAnswers)
        return None
    shown = _named(watched, task.samples.images) if task.samples.images else _first(watched.feed, held_out)
    if not shown:
        _forget(watched, ToldAnswers)
        return None
    return Sampler(
        spec=task.samples,
        pixels=shown,
        template=get_template(task.model.prompt_template),
        tokenizer=Tokenizer(materialise(task.model.llm, task.model.storage or watched.config.storage)),
        model=model,
        engine=watched.engine,
        answers=ToldAnswers.resume(watched.storage, watched.stage, done_steps=watched.done_steps),
        save_every_steps=task.save_every_steps,
    )


def _forget(watched: Watched, log: type[StageLog[Any]]) -> None:
    """Drop what an earlier job of the same prefix, or an earlier spec, has left for the report."""
    if watched.feed.rank == 0:
        watched.storage.delete(log(watched.storage, watched.stage).path)


def _named(watched: Watched, uris: Sequence[str]) -> dict[str, torch.Tensor]:
    """The images of these URIs, prepared as the stage's rows are."""
    settings = watched.feed.images.settings
    opened = open_sample_images(uris, watched.config.stage, server=watched.config.storage)
    return {uri: _pixels(np.asarray(prepare(image, settings)), settings) for uri, image in opened}


def _first(feed: Feed, held_out: TokenSet | None) -> dict[str, torch.Tensor]:
    """The first image of the held-out rows, or of those that train; none where all rows are text."""
    for tokens in (held_out, feed.tokens):
        if tokens is not None and tokens.num_slots.any():
            (sample,) = tokens.read([int(np.flatnonzero(tokens.num_slots)[0])])
            pixels_HWC = feed.images.read(sample.seen_images[:1])[0]  # noqa: N806
            return {f"{sample.source} row {sample.row:,}": _pixels(pixels_HWC, feed.images.settings)}
    return {}


def _pixels(pixels_HWC: NDArray[np.uint8], settings: ImageSettings) -> torch.Tensor:  # noqa: N803
    """Normalise one image: [C, H, W]."""
    return torch.from_numpy(pixels(pixels_HWC[None], settings))[0]
