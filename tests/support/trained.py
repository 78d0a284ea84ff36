"""A job whose training has ended: base folders, a checkpoint of a randomly trained model, and its convert run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from llava_contract.result import StageResult
from llava_contract.run import ConvertTask, JobKind, JobRef, RunConfig, Stage, StorageTarget, TrainTask
from llava_contract.v1alpha1.conversion import ExportDtype, ExportFormat
from llava_trainer.checkpoint.layout import Place
from llava_trainer.checkpoint.save import Moment, Saver
from llava_trainer.checkpoint.state import Fragment, Slot, Span
from llava_trainer.model.llava import Llava
from llava_trainer.ranks import Ranks, StopFlag
from llava_trainer.stages import convert
from llava_trainer.storage import open_storage
from llava_trainer.tracking.progress import ProgressWriter, StageContext
from support.tiny_model import tiny_llava


def context(stage: str) -> StageContext:
    return StageContext(0, 1, ProgressWriter(None, stage, 1), StopFlag())


@dataclass(frozen=True)
class TrainedJob:
    """Everything below one temporary folder; `model` is the trained model, adapters not merged."""

    folder: Path
    model: Llava
    task: ConvertTask

    @property
    def export(self) -> Path:
        return self.folder / "job" / "models" / "huggingface"

    def config(self, **changes: Any) -> RunConfig:
        task = self.task.model_copy(update=changes)
        return run_config(self.folder / "job", Stage.CONVERT, task)

    def convert(self, **changes: Any) -> StageResult:
        return convert.run(self.config(**changes), context("convert"))


def run_config(storage: Path, stage: Stage, task: Any) -> RunConfig:
    return RunConfig(
        job=JobRef(kind=JobKind.TRAIN, namespace="default", name="tiny", uid="6c84fb90-12c4-11e1-840d-7b25c5ee775a"),
        stage=stage, attempt=1, num_ranks=1, hang_timeout_seconds=60, task=task,
        storage=StorageTarget(uri=str(storage)),
    )  # fmt: skip


def trained_job(folder: Path, task: TrainTask, family: str = "llama") -> TrainedJob:
    """Build a model, move everything trainable at random and end its training there."""
    model = tiny_llava(folder, family, task=task)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return ended_job(folder, model, task, family)


def ended_job(folder: Path, model: Llava, task: TrainTask, family: str = "llama") -> TrainedJob:
    """Save a model whose parts lie below `folder` as a checkpoint."""
    parts = task.model.model_copy(update={"llm": str(folder / family), "vision_tower": str(folder / "tower")})
    convert_task = ConvertTask(
        model=parts, checkpoints=[save(folder / "job", model)], llm=task.llm, vision_tower=task.vision_tower,
        formats=[ExportFormat.HUGGINGFACE], dtype=ExportDtype.FP32, pad_to_square=True,
    )  # fmt: skip
    return TrainedJob(folder, model, convert_task)


def save(job: Path, model: Llava) -> str:
    storage = open_storage(str(job))
    trainable = model.trainable()
    saver = Saver(
        storage=storage, place=Place("finetune", 0, "6c84fb90", 1, "0123abcd"), ranks=Ranks(0, 1, 0), keep_last=2,
        global_batch=4, seed=0,
    )  # fmt: skip
    fragments = [
        Fragment(Span(slot, name, 0, parameter.numel()), parameter.detach().float().flatten().clone())
        for slot in Slot
        for name, parameter in trainable.items()
    ]
    shapes = {name: tuple(parameter.shape) for name, parameter in trainable.items()}
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        return saver.save(fragments, shapes, at=Moment(step=3, total_steps=3, epoch=1, epoch_step=0)).uri
    finally:
        dist.destroy_process_group()
