"""The golden training cases of XTuner's own code, laid out for our engine: model, batches and what must come out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from llava_contract.run import ModelParts
from llava_contract.v1alpha1.training import Schedule, TuningSpec
from llava_trainer.data.batch import Batch, make_batch
from llava_trainer.data.images import ImageSettings
from llava_trainer.data.sample import Sample
from llava_trainer.engine.optimizer import LearningRate
from llava_trainer.model.build import build_model
from llava_trainer.model.llava import Llava
from support.golden import golden
from support.tiny_model import frozen, full, lora, train_task

TUNING: dict[str, tuple[TuningSpec, TuningSpec]] = {
    "pretrain": (frozen(), frozen()),
    "finetune_full": (full(), frozen()),
    "finetune_lora": (lora(8), lora(4)),
    "finetune_full_accum2": (full(), frozen()),
}
"""How LLM and tower are tuned in each case."""


@dataclass(frozen=True)
class Want:
    """One update as XTuner recorded it; loss: mean over all labels of the update, norm from before clipping."""

    rows: tuple[tuple[int, ...], ...]
    """Rows of each micro-batch."""
    loss: float
    grad_norm: float
    learning_rate: float
    num_labels: int


@dataclass(frozen=True)
class XtunerCase:
    """One golden case; with accumulation it is the globally normalised variant, the rule that is ours."""

    name: str

    @cached_property
    def folder(self) -> Path:
        """Where its files are."""
        return golden("training") / self.name

    @cached_property
    def trace(self) -> dict[str, Any]:
        """All that was recorded."""
        return json.loads((self.folder / "trace.json").read_text())  # type: ignore[no-any-return]

    @property
    def rate(self) -> LearningRate:
        """The rate as our own settings describe it."""
        config = self.trace["config"]
        accumulation, shape = config["accumulative_counts"], config["lr_schedule"]
        kind = Schedule.CONSTANT if shape["kind"] == "constant" else Schedule.COSINE
        total, peak = config["iterations"] // accumulation, config["optimizer"]["lr"]
        return LearningRate(peak, total, shape.get("warmup_ratio", 0.0), kind, accumulation)

    def updates(self) -> Iterator[Want]:
        """What every update should measure."""
        size = self.trace["config"]["accumulative_counts"]
        iterations = self.trace.get("global_mean", self.trace)["iterations"]
        for start in range(0, len(iterations), size):
            micro = iterations[start : start + size]
            labels = sum(one["label_tokens"] for one in micro)
            loss = sum(one["loss"] * one["label_tokens"] for one in micro) / labels
            rows = tuple(tuple(one["rows"]) for one in micro)
            yield Want(rows, loss, micro[-1]["grad_norm"], micro[-1]["lr"], labels)

    def model(self) -> Llava:
        """Our model with the golden initial weights."""
        config, models = self.trace["config"], self.folder.parent
        parts = ModelParts(
            llm="llm", vision_tower="clip", prompt_template="vicuna", projector_depth=2, vision_feature_layer=-2
        )
        task = train_task(*TUNING[self.name], model=parts)
        folders = {"tower_folder": models / config["visual_encoder"], "llm_folder": models / config["llm"]}
        model = build_model(task, **folders, dtype=torch.float32, device=torch.device("cpu"))
        start = self.state("init")
        with torch.no_grad():
            for name, parameter in model.trainable().items():
                parameter.copy_(start.get(name, parameter))
        return model

    def state(self, moment: str) -> dict[str, torch.Tensor]:
        """Recorded tensors (init, final, ...) under our names."""
        return {_ours(name): tensor for name, tensor in load_file(self.folder / f"{moment}.safetensors").items()}

    def final(self) -> dict[str, torch.Tensor]:
        """What the trained tensors must be after the last update."""
        return self.state("final_global_mean" if "global_mean" in self.trace else "final")

    def batches(self, want: Want, *, is_packed: bool) -> list[Batch]:
        """The rows of an update: each micro-batch as one pack, or each row alone."""
        groups = want.rows if is_packed else [(row,) for rows in want.rows for row in rows]
        return [self._batch(rows) for rows in groups]

    def _batch(self, rows: tuple[int, ...]) -> Batch:
        samples = [self._samples[row] for row in rows]
        seen = [row for row in rows if self._samples[row].seen_images]
        images_IHWC = self._images[seen].numpy() if seen else None  # noqa: N806
        return make_batch(samples, images_IHWC, patches=16, settings=self._settings)

    @cached_property
    def _settings(self) -> ImageSettings:
        tower = self.folder.parent / self.trace["config"]["visual_encoder"]
        return ImageSettings.from_folder(tower, pad_to_square=self.trace["config"]["pad_image_to_square"])

    @cached_property
    def _images(self) -> torch.Tensor:
        kind = "pad" if self.trace["config"]["pad_image_to_square"] else "nopad"
        (images,) = load_file(self.folder.parent / "data" / f"pixels_{kind}_uint8.safetensors").values()
        return images

    @cached_property
    def _samples(self) -> list[Sample]:
        tokenised = json.loads((self.folder.parent / "data" / "rows_tokenized.json").read_text())
        rows = tokenised[self.trace["config"]["template"]]
        return [
            Sample("rows.json", row["row"], None, (row["image"],) if row["image"] else (), *_texts(row)) for row in rows
        ]


def _texts(row: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(row["input_ids"]), tuple(row["labels"])


def _ours(name: str) -> str:
    """XTuner's name of a parameter as ours."""
    name = name.replace("visual_encoder.", "vision_tower.").replace("vision_tower.vision_model.", "vision_tower.model.")
    name = name.replace("vision_tower.base_model.model.vision_model.", "vision_tower.model.")
    return name.replace("llm.base_model.model.", "llm.")
