"""Every family of models in one process group: each takes a few steps in DeepSpeed, shared by ZeRO-3 and not shared.

Run by launch.py in the place of the trainer; `cases.json` beside the run file names the cases, `losses.json` tells the
loss of every step.
"""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from llava_contract.modes import Mode
from llava_contract.v1alpha1.training import DeepspeedSpec, Offload, Precision, TuningMode
from llava_trainer.engine.zero import ZeroSettings, open_engine
from llava_trainer.ranks import Ranks
from support.gang_script import work_in_gang
from support.mode_cases import STEPS, train_step, tuning
from support.mode_table import Cell
from support.tiny_model import LLMS, TOWERS, tiny_llava, train_task, write_llm, write_tower

STAGES = (0, 3)
PARTS = [*((llm, "clip") for llm in LLMS), *(("llama", tower) for tower in TOWERS if tower != "clip")]


@dataclass(frozen=True, slots=True)
class Case:
    """An LLM and a tower, both tuned in one way."""

    llm: str
    tower: str
    mode: TuningMode

    def name(self, stage: int) -> str:
        """What the losses are told under."""
        return f"{self.llm}-{self.tower}-{self.mode}-zero{stage}"


FULL = [Case("mixtral", "clip", TuningMode.FULL), Case("llama", "siglip", TuningMode.FULL)]
"""Beside adapters, whose layers are alike in all families: parts that no other family has."""
CASES = [*(Case(llm, tower, TuningMode.LORA) for llm, tower in PARTS), *FULL]


def write_cases(folder: Path, cases: list[Case]) -> None:
    """Name the cases, and write every model once, before ranks ask for them."""
    (folder / "cases.json").write_text(json.dumps([case.name(0) for case in cases]))
    for llm, tower in {(case.llm, case.tower) for case in cases}:
        if not (folder / tower / llm).exists():
            write_llm(folder / tower / llm, llm)
        if not (folder / tower / "tower").exists():
            write_tower(folder / tower / "tower", tower)


def train(case: Case, stage: int, folder: Path, ranks: Ranks, device: torch.device) -> list[float]:
    """The losses of a few steps."""
    task = train_task(tuning(case.mode), tuning(case.mode))
    model = tiny_llava(folder / case.tower, case.llm, task=task).to(device)
    settings = ZeroSettings(DeepspeedSpec(zero_stage=stage), Precision.FP32, 1.0, 0.0, persistence_threshold=0)
    engine = open_engine(model, settings, ranks=ranks)
    cell = Cell(Mode(case.mode, case.mode, stage, Offload.NONE))
    return [train_step(engine, step, cell, ranks, device) for step in range(STEPS)]


def train_all(folder: Path, ranks: Ranks, device: torch.device) -> None:
    """Train all cases, one after the other."""
    losses = {}
    wanted = json.loads((folder / "cases.json").read_text())
    for case in (case for case in CASES if case.name(0) in wanted):
        for stage in STAGES:
            losses[case.name(stage)] = train(case, stage, folder, ranks, device)
            gc.collect()  # engines hold themselves in cycles
    if ranks.rank == 0:
        (folder / "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    work_in_gang(train_all)
