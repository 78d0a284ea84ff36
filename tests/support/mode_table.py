"""Which cells of the mode matrix a test lane trains, and what one leaves behind for tests to judge; needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

from llava_contract.modes import Mode, all_modes
from llava_contract.v1alpha1.training import Offload, Precision, TuningMode

ALLOWED = [mode for mode in all_modes() if mode.refusal is None]
REFUSED = [mode for mode in all_modes() if mode.refusal is not None]


@dataclass(frozen=True, slots=True)
class Cell:
    """One training: a mode in a precision from a seed."""

    mode: Mode
    precision: Precision = Precision.FP32
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.mode}-{self.precision}-seed{self.seed}"

    def without_zero(self) -> Cell:
        """The same training with nothing shared and nothing moved away."""
        return Cell(Mode(self.mode.llm, self.mode.vision_tower, 0, Offload.NONE), self.precision, self.seed)


def pairwise(modes: Iterable[Mode]) -> list[Mode]:
    """A choice of modes in which every two settings that any mode joins are joined: the richest mode first."""
    left = list(modes)
    missing = {pair for mode in left for pair in _pairs(mode)}
    chosen: list[Mode] = []
    while missing:
        best = max(left, key=lambda mode: len(missing.intersection(_pairs(mode))))
        missing -= set(_pairs(best))
        chosen.append(best)
    return chosen


def _pairs(mode: Mode) -> Iterator[tuple[tuple[str, Any], ...]]:
    yield from combinations(asdict(mode).items(), 2)


def half_precision() -> Iterator[Cell]:
    """LoRA beside QLoRA in bf16, five times: how far apart do ZeRO stages drift?"""
    for llm, stage, seed in product((TuningMode.LORA, TuningMode.QLORA), (1, 2, 3), range(5)):
        yield Cell(Mode(llm, TuningMode.FROZEN, stage, Offload.NONE), Precision.BF16, seed)


@dataclass(frozen=True)
class Holding:
    """What one rank held at the end, in elements of trained parameters; devices by type."""

    device: str
    """Where this rank computes."""
    parameters: int
    states: int
    parameter_devices: list[str]
    state_devices: list[str]
    offloads: list[str]
    """What DeepSpeed itself believes to have moved to host memory."""
    whole: list[str]
    """Parameters that this rank holds in full."""


@dataclass(frozen=True)
class Trained:
    """What training one cell measured; tensors stand as digests of their bytes."""

    losses: list[float]
    before: dict[str, str]
    after: dict[str, str]
    saved: dict[str, str]
    num_trained: int
    holdings: list[Holding]
    """One a rank."""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Trained:
        """Inverse of `asdict`."""
        return cls(**{**value, "holdings": [Holding(**one) for one in value["holdings"]]})


def write_cells(folder: Path, cells: Iterable[Cell]) -> None:
    """Say which cells a gang that starts in `folder` trains."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cells.json").write_text(json.dumps([asdict(cell) for cell in cells]))


def read_cells(folder: Path) -> list[Cell]:
    """The cells that `write_cells` wrote."""
    rows = json.loads((folder / "cells.json").read_text())
    return [Cell(_mode(**row["mode"]), Precision(row["precision"]), row["seed"]) for row in rows]


def _mode(llm: str, vision_tower: str, zero_stage: int, offload: str) -> Mode:
    return Mode(TuningMode(llm), TuningMode(vision_tower), zero_stage, Offload(offload))
