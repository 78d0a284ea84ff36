"""Which ways of tuning, ZeRO stages and offloads go together; every refusal is the contract's own, asked for here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from pydantic import ValidationError

from llava_contract.schema import Schema
from llava_contract.v1alpha1.training import DeepspeedSpec, Offload, TrainStageSpec, TuningMode

__all__ = ["TOWER_MODES", "Mode", "all_modes", "page"]

TOWER_MODES: Final = (TuningMode.FROZEN, TuningMode.LORA, TuningMode.FULL)

_LLM_SAVES: Final = {
    TuningMode.FROZEN: (),
    TuningMode.LORA: ("adapters of the LLM",),
    TuningMode.QLORA: ("adapters of the LLM",),
    TuningMode.FULL: ("the LLM",),
}
_TOWER_SAVES: Final = {
    TuningMode.FROZEN: (),
    TuningMode.LORA: ("adapters of the tower",),
    TuningMode.FULL: ("the tower up to its feature layer",),
}
_INTRODUCTION: Final = (
    "# Tuning modes\n\nEvery way of tuning the LLM and the vision tower, with every ZeRO stage and offload. Each cell "
    "that is allowed trains three steps on two ranks in `make test-modes`, which then looks at what was saved, that "
    "nothing else changed, and where states and parameters are; `make test-trainer` runs a choice in which every pair "
    "of settings occurs. The projector is always trained, so no mode is left with nothing to train.\n"
)


@dataclass(frozen=True, slots=True)
class Mode:
    """One cell: how both parts are tuned, and how DeepSpeed shares the work."""

    llm: TuningMode
    vision_tower: TuningMode
    zero_stage: int
    offload: Offload

    @property
    def refusal(self) -> str | None:
        """What a user who asks for it is told; None when it can be trained."""
        stage = {part: _tuning(mode) for part, mode in (("llm", self.llm), ("visionTower", self.vision_tower))}
        deepspeed = {"zeroStage": self.zero_stage, "offload": self.offload.value}
        return _complaint(TrainStageSpec, stage) or _complaint(DeepspeedSpec, deepspeed)

    def __str__(self) -> str:
        """A name for tables and tests."""
        return f"{self.llm}-{self.vision_tower}-zero{self.zero_stage}-{self.offload}"


def all_modes() -> Iterator[Mode]:
    """Every cell, refused ones too."""
    for llm, tower, stage, offload in product(TuningMode, TOWER_MODES, range(4), Offload):
        yield Mode(llm, tower, stage, offload)


def page() -> str:
    """The reference page: what each way of tuning saves, and the whole matrix."""
    return f"{_INTRODUCTION}\n## What a checkpoint holds\n\n{_saved()}\n## What runs\n\n{_matrix()}"


def _tuning(mode: TuningMode) -> dict[str, Any]:
    has_adapters = mode in (TuningMode.LORA, TuningMode.QLORA)
    return {"mode": mode.value} | ({"lora": {"rank": 8, "alpha": 16}} if has_adapters else {})


def _complaint(model: type[Schema], value: dict[str, Any]) -> str | None:
    try:
        model.model_validate(value)
    except ValidationError as error:
        return str(error.errors()[0]["msg"])
    return None


def _saved() -> str:
    lines = ["| LLM \\ vision tower | " + " | ".join(f"`{tower}`" for tower in TOWER_MODES) + " |", "| --- " * 4 + "|"]
    for llm in TuningMode:
        cells = (", ".join(("projector", *_LLM_SAVES[llm], *_TOWER_SAVES[tower])) for tower in TOWER_MODES)
        lines.append(f"| `{llm}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _matrix() -> str:
    columns = list(product(TuningMode, TOWER_MODES))
    refusals = list(dict.fromkeys(mode.refusal for mode in all_modes() if mode.refusal))
    head = " | ".join(f"{llm} / {tower}" for llm, tower in columns)
    lines = [f"| ZeRO, offload | {head} |", "| --- " * (len(columns) + 1) + "|"]
    for stage, offload in product(range(4), Offload):
        row = [Mode(llm, tower, stage, offload).refusal for llm, tower in columns]
        cells = (f"no ({refusals.index(refusal) + 1})" if refusal else "yes" for refusal in row)
        lines.append(f"| {stage}, {offload} | " + " | ".join(cells) + " |")
    reasons = "\n".join(f"{number}. {refusal}" for number, refusal in enumerate(refusals, start=1))
    return "\n".join(lines) + f"\n\nColumns: how the LLM / the vision tower is tuned. Refused because\n\n{reasons}\n"
