"""How a training stage goes: prepared data, a model in DeepSpeed, the newest checkpoint, steps, a last checkpoint.

Pretrain and finetune are the same recipe with other ingredients; the run file has them all.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from llava_contract import causes
from llava_contract.result import Artifact, StageResult
from llava_contract.run import RunConfig, Stage, StorageTarget, TrainTask
from llava_contract.v1alpha1.training import Precision, TuningMode
from llava_trainer.checkpoint.restore import Checkpoint, Wanted, find_newest
from llava_trainer.checkpoint.save import Saver, agree_on_place
from llava_trainer.data.pack import Batching
from llava_trainer.data.shards import ImageSet, Place, TokenSet
from llava_trainer.engine.feed import Feed
from llava_trainer.engine.loop import Outcome, SaveRule, Training, train
from llava_trainer.engine.optimizer import LearningRate
from llava_trainer.engine.spikes import SpikeWatch
from llava_trainer.engine.zero import ZeroEngine, ZeroSettings, open_engine
from llava_trainer.errors import BadData, InvalidSpec, WeightsMismatch
from llava_trainer.ranks import Ranks, join_gang, leave_gang
from llava_trainer.stages.projector import ProjectorPlace
from llava_trainer.stages.watchers import Watched, make_sampler, make_validator, open_trackers
from llava_trainer.storage import Storage, home_of, materialise, open_storage
from llava_trainer.tracking.history import History
from llava_trainer.tracking.progress import StageContext

if TYPE_CHECKING:
    from llava_trainer.model.llava import Llava

__all__ = ["import_heavy", "run"]

_LOG: Final = logging.getLogger(__name__)
_WEIGHTS: Final = {Stage.PRETRAIN: Artifact.PRETRAIN_WEIGHTS, Stage.FINETUNE: Artifact.FINETUNE_WEIGHTS}
_DTYPES: Final = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


def import_heavy(config: RunConfig) -> None:
    """Import the model's libraries: peft only for adapters, bitsandbytes only to quantise."""
    from llava_trainer.model.imports import import_libraries  # noqa: PLC0415

    modes = {_task(config).llm.mode, _task(config).vision_tower.mode}
    import_libraries(adapters=bool(modes & {TuningMode.LORA, TuningMode.QLORA}), quantised=TuningMode.QLORA in modes)


def run(config: RunConfig, context: StageContext) -> StageResult:
    """Train one stage to its end, from wherever the newest verified checkpoint stands.

    Raises Terminated or Interrupted after saving, Diverged with the rows, CorruptState when commits were lost.
    """
    task, ranks = _task(config), Ranks.from_environment()
    storage = open_storage(config.storage)
    device = join_gang(ranks, timeout_s=2 * config.hang_timeout_seconds)
    _be_deterministic(device, asked=task.deterministic)
    model = _build(config, storage, device)
    prepared = _open_prepared(storage, task.prepared, server=config.storage)
    feed = _feed(task, prepared, ranks=ranks, model=model, device=device)
    engine = open_engine(model, _zero_settings(task), ranks=ranks)
    newest = find_newest(storage, _wanted(config), ranks=ranks)
    done_steps = _resume(engine, newest, feed) if newest else 0
    watched = Watched(config, storage, engine, feed, done_steps)
    training = _training(watched, model, prepared.held_out)
    try:
        outcome = train(training, context, done_steps=done_steps, newest=newest.ref if newest else None)
    finally:
        training.trackers.close()
    leave_gang()
    return _result(watched, training, outcome)


def _task(config: RunConfig) -> TrainTask:
    assert isinstance(config.task, TrainTask), f"stage {config.stage} with a task of kind {config.task.kind}"
    return config.task


def _be_deterministic(device: torch.device, *, asked: bool) -> None:
    """Equal inputs give equal losses to the last bit: always on a CPU; on GPUs, where it costs speed, when asked."""
    if asked and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS refuses to be deterministic
    if asked or device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False


def _build(config: RunConfig, storage: Storage, device: torch.device) -> Llava:
    """Assemble the model; its projector may come from a pretrain, from a file or with a whole model."""
    from llava_trainer.model.build import build_model, load_trained  # noqa: PLC0415  (import_heavy comes first)
    from llava_trainer.model.projector import require_fit  # noqa: PLC0415

    task = _task(config)
    server = task.model.storage or config.storage
    tower, llm = (materialise(uri, server) for uri in (task.model.vision_tower, task.model.llm))
    dtype = _DTYPES[task.precision]
    model = build_model(task, tower_folder=tower, llm_folder=llm, dtype=dtype, device=device)
    if uri := task.pretrained_projector:
        of_model = task.model.is_whole and uri == task.model.llm
        stored = ProjectorPlace(uri, storage, server if of_model else config.storage).read()
        require_fit(stored, model.projector, source=uri)
        load_trained(model, stored.tensors, only="projector.")
        _LOG.info("projector from %s", uri)
    return model


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What prepare made for a stage."""

    images: ImageSet
    tokens: TokenSet
    held_out: TokenSet | None


def _feed(task: TrainTask, prepared: _Prepared, *, ranks: Ranks, model: Llava, device: torch.device) -> Feed:
    """Say how the prepared set is cut into steps; a pack holds what `batch_size` longest rows take."""
    patches = model.patches_per_image
    batching = Batching(
        global_batch=task.batch_size * task.accumulation * ranks.world_size,
        world_size=ranks.world_size,
        pack_length=task.batch_size * (task.max_length + patches - 1),
        order=task.order,
        seed=task.seed,
    )
    return Feed(prepared.tokens, prepared.images, batching, rank=ranks.rank, patches=patches, device=device)


def _open_prepared(storage: Storage, uri: str, *, server: StorageTarget) -> _Prepared:
    try:
        told = json.loads(storage.read(uri))
        parts = [told["images"], told["tokens"], *filter(None, [told.get("held_out")])]
        images, tokens, *held_out = [Place(part, home_of(part, storage, server)) for part in parts]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadData(f"{uri}: not a prepared set ({error!r}); prepare the data again.") from error
    held = TokenSet.open(held_out[0]) if held_out else None
    return _Prepared(ImageSet.open(images), TokenSet.open(tokens), held)


def _zero_settings(task: TrainTask) -> ZeroSettings:
    return ZeroSettings(
        deepspeed=task.deepspeed,
        precision=task.precision,
        max_grad_norm=task.max_grad_norm,
        weight_decay=task.weight_decay,
    )


def _wanted(config: RunConfig) -> Wanted:
    return Wanted(config.stage.value, config.job.uid, config.last_commit, config.resume_before_step)


def _resume(engine: ZeroEngine, newest: Checkpoint, feed: Feed) -> int:
    """Go on from a checkpoint; give the steps that are done. It must be of this model and of these steps."""
    manifest = newest.manifest
    if dict(manifest.parameters) != engine.shapes:
        odd = sorted(manifest.parameters.items() ^ engine.shapes.items())[0][0]
        raise WeightsMismatch(f"{newest.ref.uri}: other trained parameters than the model has (first: {odd}).")
    if manifest.global_batch != feed.batching.global_batch:
        raise InvalidSpec(
            f"{newest.ref.uri} was taken with {manifest.global_batch} samples per optimizer step, this attempt has "
            f"{feed.batching.global_batch}; keep batchSize x accumulation x ranks as it was."
        )
    engine.restore(newest.reader(), num_updates=manifest.step)
    _LOG.info("going on from step %d (%s); %d newer did not verify", manifest.step, newest.ref.uri, newest.rejected)
    return manifest.step


def _training(watched: Watched, model: Llava, held_out: TokenSet | None) -> Training:
    config, task, storage, feed = watched.config, watched.task, watched.storage, watched.feed
    total_steps = task.max_steps or (task.epochs or 1) * feed.steps_per_epoch
    history = History.resume(storage, watched.stage, done_steps=watched.done_steps)
    saver = Saver(
        storage=storage,
        ranks=Ranks.from_environment(),
        place=agree_on_place(watched.stage, uid=config.job.uid, attempt=config.attempt),
        keep_last=task.keep_last,
        global_batch=feed.batching.global_batch,
        seed=task.seed,
    )
    return Training(
        engine=watched.engine,
        feed=feed,
        rate=LearningRate(task.learning_rate, total_steps, task.warmup_ratio, task.schedule, task.accumulation),
        saver=saver,
        history=history,
        trackers=open_trackers(watched),
        save_rule=SaveRule(task.save_every_steps, task.save_every_minutes),
        hang_timeout_s=config.hang_timeout_seconds,
        spikes=SpikeWatch.resume(row.loss for row in history.rows) if task.stop_on_loss_spike else None,
        validator=make_validator(watched, held_out),
        sampler=make_sampler(watched, model, held_out),
    )


def _result(watched: Watched, training: Training, outcome: Outcome) -> StageResult:
    history = History.read(watched.storage, watched.stage)
    return StageResult(
        stage=watched.stage,
        attempt=watched.config.attempt,
        exit_code=causes.SUCCEEDED.exit_code,
        reason=causes.SUCCEEDED.reason,
        message=_preference(training, outcome),
        step=outcome.done_steps,
        total_steps=training.rate.total_steps,
        loss=history[-1].loss if history else outcome.loss,
        checkpoint=outcome.checkpoint,
        artifacts={_WEIGHTS[watched.config.stage].value: outcome.checkpoint.uri},
    )


def _preference(training: Training, outcome: Outcome) -> str:
    """Say what held-out rows decided; nothing where none are held out."""
    best = training.validator.validations.best if training.validator else None
    if best is None:
        return ""
    total = training.rate.total_steps
    early = f"Ended after {outcome.done_steps:,} of {total:,} steps: " if outcome.done_steps < total else ""
    return f"{early}held-out loss {best.loss:.4f} was lowest at step {best.step:,}, which goes on."
