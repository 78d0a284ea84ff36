"""The golden training cases of XTuner's own code, laid out for our engine: model, batches and what must come out.

Run by launch.py in the place of the trainer it trains every case on all ranks; `done.json` beside the run file tells.
"""

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
from llava_contract.v1alpha1.training import DeepspeedSpec, Precision, Schedule, TuningSpec
from llava_trainer.checkpoint.save import Moment, Saver, agree_on_place
from llava_trainer.data.batch import Batch, make_batch
from llava_trainer.data.images import ImageSettings
from llava_trainer.data.sample import Sample
from llava_trainer.engine.optimizer import LearningRate
from llava_trainer.engine.step import Agreed, StepInput, run_step
from llava_trainer.engine.zero import ZeroEngine, ZeroSettings, open_engine
from llava_trainer.model.build import build_model
from llava_trainer.model.llava import Llava
from llava_trainer.ranks import Ranks
from llava_trainer.storage import Storage, open_storage
from support.gang_script import work_in_gang
from support.golden import golden
from support.tiny_model import frozen, full, lora, train_task

TUNING: dict[str, tuple[TuningSpec, TuningSpec]] = {
    "pretrain": (frozen(), frozen()),
    "finetune_full": (full(), frozen()),
    "finetune_lora": (lora(8), lora(4)),
    "finetune_full_accum2": (full(), frozen()),
}
"""How LLM and tower are tuned in each case."""


@dataclass(frozen=True, slots=True)
class Run:
    """One way of training a case."""

    num_ranks: int
    stage: int
    is_packed: bool

    def __str__(self) -> str:
        return f"{self.num_ranks}-ranks-zero{self.stage}-{'packed' if self.is_packed else 'unpacked'}"


RUNS = [*(Run(1, stage, is_packed=True) for stage in range(4)), Run(1, 2, is_packed=False),
        Run(2, 2, is_packed=False), Run(2, 3, is_packed=True)]  # fmt: skip
"""On two ranks, packed: one of them has nothing but empty packs unless there is accumulation."""


@dataclass(frozen=True, slots=True)
class Done:
    """What training a case came to: loss, gradient norm and rate of every update, and the checkpoint behind them."""

    updates: list[tuple[float, float, float]]
    uri: str


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

    def batches(self, want: Want, *, is_packed: bool, ranks: Ranks = Ranks(0, 1, 0)) -> list[Batch]:  # noqa: B008
        """A rank's share of an update: each micro-batch as one pack, or each row alone; empty packs fill it up."""
        groups = list(want.rows) if is_packed else [(row,) for rows in want.rows for row in rows]
        groups += [()] * (-len(groups) % ranks.world_size)
        return [self._batch(rows) for rows in groups[ranks.rank :: ranks.world_size]]

    def _batch(self, rows: tuple[int, ...]) -> Batch:
        samples = [self._samples[row] for row in rows]
        seen = [row for row in rows if self._samples[row].seen_images]
        images_IHWC = self._images[seen].numpy() if seen else None  # noqa: N806
        sources = list(dict.fromkeys(sample.source for sample in samples))
        return make_batch(samples, images_IHWC, patches=16, settings=self._settings, sources=sources)

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


def train_case(case: XtunerCase, run: Run, storage: Storage, ranks: Ranks) -> Done:
    """Train a case with our engine and save its end; every rank of the gang calls it."""
    settings = ZeroSettings(DeepspeedSpec(zero_stage=run.stage), Precision.FP32, 1.0, 0.0, persistence_threshold=0)
    engine = open_engine(case.model(), settings, ranks=ranks)
    updates = list(_updates(engine, case, run, ranks))
    place = agree_on_place("finetune", uid=f"{case.name}-{run}", attempt=1)
    saver = Saver(storage, ranks, place, 1, global_batch=4, seed=0)
    end = Moment(len(updates), len(updates), 0, len(updates))
    return Done(updates, saver.save(engine.fragments(), engine.shapes, at=end).uri)


def _updates(engine: ZeroEngine, case: XtunerCase, run: Run, ranks: Ranks) -> Iterator[tuple[float, float, float]]:
    for step, want in enumerate(case.updates()):
        share = case.batches(want, is_packed=run.is_packed, ranks=ranks)
        given = StepInput(step, share, len(share), want.num_labels, learning_rate=case.rate.at(step), seed=0)
        done = run_step(engine, given, ranks=ranks, wish=Agreed())
        yield done.loss, done.grad_norm, done.learning_rate


def _ours(name: str) -> str:
    """XTuner's name of a parameter as ours."""
    name = name.replace("visual_encoder.", "vision_tower.").replace("vision_tower.vision_model.", "vision_tower.model.")
    name = name.replace("vision_tower.base_model.model.vision_model.", "vision_tower.model.")
    return name.replace("llm.base_model.model.", "llm.")


def train_all(folder: Path, ranks: Ranks, device: torch.device) -> None:  # noqa: ARG001  (CPU only)
    """Train every case in every way that is for this number of ranks."""
    storage = open_storage(str(folder))
    runs = [run for run in RUNS if run.num_ranks == ranks.world_size]
    done = {f"{name}-{run}": train_case(XtunerCase(name), run, storage, ranks) for run in runs for name in TUNING}
    if ranks.rank == 0:
        (folder / "done.json").write_text(json.dumps({key: [one.updates, one.uri] for key, one in done.items()}))


if __name__ == "__main__":
    work_in_gang(train_all)
