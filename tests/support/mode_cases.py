"""Many cells of the mode matrix in one process group: each trains, saves, and says what changed and who held what.

Run by launch.py in the place of the trainer; `cells.json` beside the run file names the cells, `trained.json` tells.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from llava_contract.v1alpha1.training import DeepspeedSpec, Precision, TuningMode, TuningSpec
from llava_trainer.checkpoint.restore import read_weights
from llava_trainer.checkpoint.save import Moment, Saver, agree_on_place
from llava_trainer.data.batch import Batch
from llava_trainer.data.sample import IGNORE
from llava_trainer.engine.step import Agreed, StepInput, run_step
from llava_trainer.engine.zero import ZeroEngine, ZeroSettings, open_engine
from llava_trainer.model.llava import Llava
from llava_trainer.ranks import Ranks, gather_texts
from llava_trainer.storage import open_storage
from support.gang_script import work_in_gang
from support.mode_table import Cell, Holding, Trained, read_cells
from support.tiny_model import lora, pack, random_pixels, random_row, tiny_llava, train_task

STEPS = 3
DTYPES = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


def packs(step: int) -> list[Batch]:
    """Four packs of a step; dealt to two ranks, one gets images only and the other text and nothing at all."""
    text, nothing = [random_row(9, image=False, seed=step)], [([0], [IGNORE])]
    return [images(2 * step), pack(text), images(2 * step + 1), pack(nothing)]


def images(seed: int) -> Batch:
    """Two rows with an image and one without."""
    rows = [random_row(11 + i, image=i != 1, seed=10 * seed + i) for i in range(3)]
    return pack(rows, random_pixels(2, seed=seed))


def tuning(mode: TuningMode) -> TuningSpec:
    """Small adapters where the mode has any."""
    return lora(mode=mode) if mode in (TuningMode.LORA, TuningMode.QLORA) else TuningSpec(mode=mode)


def train_cell(cell: Cell, folder: Path, ranks: Ranks, device: torch.device) -> Trained:
    """Three steps, a checkpoint, and a look at everything."""
    mode = cell.mode
    deepspeed = DeepspeedSpec(zero_stage=mode.zero_stage, offload=mode.offload)
    task = train_task(tuning(mode.llm), tuning(mode.vision_tower), precision=cell.precision, seed=cell.seed)
    model = tiny_llava(folder, task=task, dtype=DTYPES[cell.precision]).to(device)
    before = {name: digest(tensor) for name, tensor in everything(model)}
    settings = ZeroSettings(deepspeed, cell.precision, 1.0, 0.0, persistence_threshold=0)
    engine = open_engine(model, settings, ranks=ranks)
    losses = [train_step(engine, step, cell, ranks, device) for step in range(STEPS)]
    storage = open_storage(str(folder / "storage"))
    saver = Saver(storage, ranks, agree_on_place("finetune", uid=str(cell), attempt=1), 2, global_batch=4, seed=0)
    uri = saver.save(engine.fragments(), engine.shapes, at=Moment(STEPS, STEPS, 0, STEPS)).uri
    dtypes = {name: tensor.dtype for name, tensor in everything(model)}
    return Trained(
        losses=losses,
        before=before,
        after={name: digest(whole(tensor, ranks)) for name, tensor in everything(model)},
        saved={name: digest(tensor.to(dtypes[name])) for name, tensor in read_weights(storage, uri).items()},
        num_trained=sum(torch.Size(shape).numel() for shape in engine.shapes.values()),
        holdings=[Holding(**json.loads(text)) for text in gather_texts(json.dumps(asdict(holding(engine, model))))],
    )


def train_step(engine: ZeroEngine, step: int, cell: Cell, ranks: Ranks, device: torch.device) -> float:
    """One update on four packs, whatever the number of ranks."""
    dealt = [batch.to(device) for batch in packs(step)[ranks.rank :: ranks.world_size]]
    labels = sum(batch.num_labels for batch in packs(step))
    given = StepInput(step, dealt, len(dealt), labels, learning_rate=0.01, seed=cell.seed)
    return run_step(engine, given, ranks=ranks, wish=Agreed()).loss


def everything(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers, trained or not."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def whole(tensor: Any, ranks: Ranks) -> torch.Tensor:
    """A tensor that ZeRO-3 may have cut, put together from all ranks."""
    if not hasattr(tensor, "ds_tensor"):
        return tensor
    mine = tensor.ds_tensor.detach().contiguous().to(torch.device("cuda") if dist.get_backend() == "nccl" else "cpu")
    parts = [torch.empty_like(mine) for _ in range(ranks.world_size)]
    dist.all_gather(parts, mine)
    return torch.cat(parts)[: tensor.ds_numel].view(tensor.ds_shape)


def digest(tensor: torch.Tensor) -> str:
    """SHA-256 of shape and bytes."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    data = str(tuple(tensor.shape)).encode() + flat.view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


def holding(engine: ZeroEngine, model: Llava) -> Holding:
    """Look into DeepSpeed for what this rank holds, and where."""
    wrapped, stage = engine._engine.optimizer, engine._settings.stage
    inner = wrapped if stage == 0 else wrapped.optimizer
    states = [value for state in inner.state.values() for key, value in state.items() if key == "exp_avg"]
    held = {name: getattr(p, "ds_tensor", p) for name, p in model.named_parameters()}
    flags = {"optimizer": ("cpu_offload", "offload_optimizer"), "parameters": ("offload_param",)}
    return Holding(
        device=engine._engine.device.type,
        parameters=sum(held[name].numel() for name in engine.shapes),
        states=sum(state.numel() for state in states),
        parameter_devices=sorted({tensor.device.type for tensor in held.values()}),
        state_devices=sorted({state.device.type for state in states}),
        offloads=[what for what, names in flags.items() if any(getattr(wrapped, name, False) for name in names)],
        whole=[name for name, p in model.named_parameters() if hasattr(p, "ds_tensor") and p.numel()],
    )


def train_all(folder: Path, ranks: Ranks, device: torch.device) -> None:
    """Train all cells, one after the other."""
    trained = {}
    for cell in read_cells(folder):
        trained[str(cell)] = asdict(train_cell(cell, folder, ranks, device))
        gc.collect()  # engines hold themselves in cycles
    if ranks.rank == 0:
        (folder / "trained.json").write_text(json.dumps(trained))


if __name__ == "__main__":
    work_in_gang(train_all)
