"""How a training stage goes: prepared data, a model in DeepSpeed, the newest checkpoint, steps, a last checkpoint.

Pretrain and finetune are the same recipe with other ingredients; the run file has them all.
"""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import torch

from llava_contract import causes
from llava_contract.result import Artifact, CheckpointRef, StageResult
from llava_contract.run import RunConfig, Stage, StorageTarget, TrainTask
from llava_contract.v1alpha1.training import Precision, TuningMode
from llava_trainer.checkpoint.restore import Checkpoint, Wanted, find_newest, read_weights
from llava_trainer.checkpoint.save import Saver, agree_on_place
from llava_trainer.data.pack import Batching
from llava_trainer.data.shards import ImageSet, Place, TokenSet
from llava_trainer.engine.feed import Feed
from llava_trainer.engine.loop import Outcome, SaveRule, Training, train
from llava_trainer.engine.optimizer import LearningRate
from llava_trainer.engine.zero import ZeroEngine, ZeroSettings, open_engine
from llava_trainer.errors import BadData, InvalidSpec, WeightsMismatch
from llava_trainer.ranks import Ranks, join_gang, leave_gang
from llava_trainer.storage import Storage, materialise, open_storage
from llava_trainer.tracking.history import History, read_history
from llava_trainer.tracking.identity import RunIdentity
from llava_trainer.tracking.mlflow_run import MlflowRun
from llava_trainer.tracking.progress import StageContext
from llava_trainer.tracking.tensorboard import EventFiles
from llava_trainer.tracking.trackers import Opener, Trackers
from llava_trainer.tracking.wandb_run import WandbRun

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

    Raises Terminated or Interrupted after saving, NaNLoss with the rows, CorruptState when commits were lost.
    """
    task, ranks = _task(config), Ranks.from_environment()
    storage = open_storage(config.storage)
    device = join_gang(ranks, timeout_s=2 * config.hang_timeout_seconds)
    _be_deterministic(device)
    model = _build(config, storage, device)
    feed = _feed(config, storage, ranks=ranks, model=model, device=device)
    engine = open_engine(model, _zero_settings(task), ranks=ranks)
    newest = find_newest(storage, _wanted(config), ranks=ranks)
    done_steps = _resume(engine, newest, feed) if newest else 0
    training = _training(config, engine, feed, storage=storage, done_steps=done_steps)
    try:
        outcome = train(training, context, done_steps=done_steps, newest=newest.ref if newest else None)
    finally:
        training.trackers.close()
    leave_gang()
    return _result(config, outcome, storage, total_steps=training.rate.total_steps)


def _task(config: RunConfig) -> TrainTask:
    assert isinstance(config.task, TrainTask), f"stage {config.stage} with a task of kind {config.task.kind}"
    return config.task


def _be_deterministic(device: torch.device) -> None:
    """Equal inputs give equal losses to the last bit on a CPU; on GPUs that would cost speed and is not promised."""
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False


def _build(config: RunConfig, storage: Storage, device: torch.device) -> Llava:
    """Assemble the model; a finetune starts from the projector that its pretrain made."""
    from llava_trainer.model.build import build_model, load_trained  # noqa: PLC0415  (import_heavy comes first)

    task = _task(config)
    tower, llm = (materialise(uri, config.storage) for uri in (task.model.vision_tower, task.model.llm))
    dtype = _DTYPES[task.precision]
    model = build_model(task, tower_folder=tower, llm_folder=llm, dtype=dtype, device=device)
    if uri := task.pretrained_projector:
        load_trained(model, read_weights(_home_of(uri, storage, config.storage), uri), only="projector.")
        _LOG.info("projector from %s", uri)
    return model


def _home_of(uri: str, storage: Storage, server: StorageTarget) -> Storage:
    """The storage that holds a folder: this job's, or what stands above it elsewhere, reached as this job's is."""
    if uri.startswith(f"{storage.uri}/"):
        return storage
    above = uri.rstrip("/").rpartition("/")[0]
    return open_storage(server.model_copy(update={"uri": above}), must_exist=True)


def _feed(config: RunConfig, storage: Storage, *, ranks: Ranks, model: Llava, device: torch.device) -> Feed:
    """Open the prepared set and say how it is cut into steps; a pack holds what `batch_size` longest rows take."""
    task = _task(config)
    images, tokens = _open_prepared(storage, task.prepared, server=config.storage)
    patches = model.patches_per_image
    batching = Batching(
        global_batch=task.batch_size * task.accumulation * ranks.world_size,
        world_size=ranks.world_size,
        pack_length=task.batch_size * (task.max_length + patches - 1),
        order=task.order,
        seed=task.seed,
    )
    return Feed(tokens, images, batching, rank=ranks.rank, patches=patches, device=device)


def _open_prepared(storage: Storage, uri: str, *, server: StorageTarget) -> tuple[ImageSet, TokenSet]:
    try:
        halves = json.loads(storage.read(uri))
        places = [Place(halves[half], _home_of(halves[half], storage, server)) for half in ("images", "tokens")]
    except (ValueError, KeyError, TypeError) as error:
        raise BadData(f"{uri}: not a prepared set ({error!r}); prepare the data again.") from error
    return ImageSet.open(places[0]), TokenSet.open(places[1])


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


def _training(config: RunConfig, engine: ZeroEngine, feed: Feed, *, storage: Storage, done_steps: int) -> Training:
    task = _task(config)
    total_steps = task.max_steps or (task.epochs or 1) * feed.steps_per_epoch
    saver = Saver(
        storage=storage,
        ranks=Ranks.from_environment(),
        place=agree_on_place(config.stage.value, uid=config.job.uid, attempt=config.attempt),
        keep_last=task.keep_last,
        global_batch=feed.batching.global_batch,
        seed=task.seed,
    )
    return Training(
        engine=engine,
        feed=feed,
        rate=LearningRate(task.learning_rate, total_steps, task.warmup_ratio, task.schedule, task.accumulation),
        saver=saver,
        history=History.resume(storage, config.stage.value, done_steps=done_steps),
        trackers=Trackers(_openers(config, storage, done_steps) if saver.ranks.rank == 0 else {}),
        save_rule=SaveRule(task.save_every_steps, task.save_every_minutes),
        hang_timeout_s=config.hang_timeout_seconds,
    )


def _openers(config: RunConfig, storage: Storage, done_steps: int) -> dict[str, Opener]:
    """Say who is told of the numbers; each library is imported by the thread that tells."""
    stage, spec, identity = config.stage.value, _task(config).tracking, RunIdentity.of(config)
    openers: dict[str, Opener] = {"TensorBoard": partial(EventFiles, storage, stage, done_steps=done_steps)}
    if spec.wandb:
        openers["Weights & Biases"] = partial(WandbRun, spec.wandb, identity, storage=storage)
    if spec.mlflow:
        openers["MLflow"] = partial(MlflowRun, spec.mlflow, identity)
    return openers


def _result(config: RunConfig, outcome: Outcome, storage: Storage, *, total_steps: int) -> StageResult:
    history = read_history(storage, config.stage.value)
    checkpoint: CheckpointRef = outcome.checkpoint
    return StageResult(
        stage=config.stage.value,
        attempt=config.attempt,
        exit_code=causes.SUCCEEDED.exit_code,
        reason=causes.SUCCEEDED.reason,
        step=total_steps,
        total_steps=total_steps,
        loss=history[-1].loss if history else outcome.loss,
        checkpoint=checkpoint,
        artifacts={_WEIGHTS[config.stage].value: checkpoint.uri},
    )
