"""Many training cases in one process group: each ZeRO stage trains, saves, goes on, and resumes what others saved.

Run by launch.py in the place of the trainer; `cases-<world size>.json` beside the run file holds every step's loss and
gradient norm. A network of four layers has the interface of the real model: one pack in, the loss of each label out.
"""

# ruff: noqa: N815

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from llava_contract.v1alpha1.training import DeepspeedSpec, Precision
from llava_trainer.checkpoint.restore import open_checkpoint
from llava_trainer.checkpoint.save import Moment, Saver, agree_on_place
from llava_trainer.engine.step import Agreed, StepInput, run_step
from llava_trainer.engine.zero import ZeroEngine, ZeroSettings, open_engine
from llava_trainer.ranks import Ranks
from llava_trainer.storage import Storage, open_storage
from support.gang_script import work_in_gang

STAGES = (0, 1, 2, 3)
PACKS, ROWS = 4, 4
Trace = list[tuple[float, float]]


@dataclass(frozen=True)
class TinyPack:
    inputs_RF: torch.Tensor
    targets_R: torch.Tensor
    source_S: tuple[str, ...]
    label_sources_L: torch.Tensor


class TinyNet(nn.Module):
    """Odd sizes, so that ranks share parameters unevenly; a frozen layer, and one that gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.frozen = nn.Linear(8, 16).requires_grad_(False)
        self.hidden, self.head, self.unused = nn.Linear(16, 33), nn.Linear(33, 5), nn.Linear(3, 3)
        self.dropout = nn.Dropout(0.0)

    def forward(self, pack: TinyPack) -> torch.Tensor:
        hidden = torch.tanh(self.hidden(self.frozen(pack.inputs_RF.to(self.hidden.weight.dtype))))
        logits = self.head(self.dropout(hidden)).float()
        return nn.functional.cross_entropy(logits, pack.targets_R, reduction="none")


def tiny_pack(step: int, index: int) -> TinyPack:
    generator = torch.Generator().manual_seed(100 * step + index)
    inputs = torch.randn(ROWS, 8, generator=generator)
    targets = torch.randint(0, 5, (ROWS,), generator=generator)
    return TinyPack(inputs, targets, (f"tiny.json row {index}",), torch.arange(ROWS) % 2)


def build(stage: int, precision: Precision, ranks: Ranks) -> ZeroEngine:
    settings = ZeroSettings(DeepspeedSpec(zero_stage=stage), precision, 1.0, 0.0, persistence_threshold=0)
    return open_engine(TinyNet(), settings, ranks=ranks)


def run_steps(engine: ZeroEngine, steps: range, ranks: Ranks) -> Trace:
    return list(_steps(engine, steps, ranks))


def _steps(engine: ZeroEngine, steps: range, ranks: Ranks) -> Iterator[tuple[float, float]]:
    for step in steps:
        packs = [tiny_pack(step, index) for index in range(PACKS)][ranks.rank :: ranks.world_size]
        given = StepInput(step, packs, len(packs), PACKS * ROWS, learning_rate=0.01, seed=3)
        report = run_step(engine, given, ranks=ranks, wish=Agreed())
        yield report.loss, report.grad_norm


def train_and_save(storage: Storage, ranks: Ranks, stage: int, precision: Precision) -> tuple[Trace, str]:
    engine = build(stage, precision, ranks)
    before = run_steps(engine, range(3), ranks)
    place = agree_on_place("finetune", uid=f"{precision}-z{stage}-w{ranks.world_size}", attempt=1)
    saver = Saver(storage, ranks, place, keep_last=2, global_batch=16, seed=3)
    ref = saver.save(engine.fragments(), engine.shapes, at=Moment(3, 6, 0, 3))
    return before + run_steps(engine, range(3, 6), ranks), ref.uri


def resume(storage: Storage, ranks: Ranks, stage: int, precision: Precision, uri: str) -> Trace:
    engine = build(stage, precision, ranks)
    engine.restore(open_checkpoint(storage, uri).reader(), num_updates=3)
    return run_steps(engine, range(3, 6), ranks)


def train_all(folder: Path, ranks: Ranks, device: torch.device) -> None:  # noqa: ARG001  (CPU only)
    storage = open_storage(str(folder / "storage"))
    traces: dict[str, Trace] = {}
    saved: dict[str, str] = {}
    for earlier in sorted(folder.glob("saved-*.json")):
        for name, uri in json.loads(earlier.read_text()).items():
            precision, source, _ = name.split()
            for stage in STAGES if precision == "fp32" else (int(source[1:]),):
                key = f"{name} -> z{stage} w{ranks.world_size}"
                traces[key] = resume(storage, ranks, stage, Precision(precision), uri)
    for precision in (Precision.FP32, Precision.BF16):
        for stage in STAGES:
            name = f"{precision} z{stage} w{ranks.world_size}"
            traces[name], saved[name] = train_and_save(storage, ranks, stage, precision)
    if ranks.rank == 0:
        (folder / f"cases-{time.time_ns()}.json").write_text(json.dumps(traces))
        (folder / f"saved-{ranks.world_size}.json").write_text(json.dumps(saved))


if __name__ == "__main__":
    work_in_gang(train_all)
