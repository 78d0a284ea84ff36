"""A whole training stage of a few kilobytes: random towers, a prepared set and a run file, to be launched for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_contract.result import CheckpointRef, StageResult
from llava_contract.run import JobKind, JobRef, RunConfig, Stage, StorageTarget
from llava_contract.v1alpha1.training import DeepspeedSpec
from llava_trainer.checkpoint.restore import read_weights
from llava_trainer.data.images import ImageSettings
from llava_trainer.data.sample import Sample
from llava_trainer.data.shards import ImageWriter, Place, TokenWriter
from llava_trainer.storage import open_storage
from llava_trainer.tracking.history import History
from support.tiny_model import IMAGE_SIZE, full, random_row, train_task, write_llm, write_tower

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}  # fmt: skip
NUM_SAMPLES = 24
NUM_HELD_OUT = 7


@dataclass(frozen=True)
class TinyJob:
    """Towers and data below `folder`; each `run` has a storage of its own."""

    folder: Path

    @classmethod
    def write(cls, folder: Path) -> TinyJob:
        """Write towers and a prepared set."""
        write_llm(folder / "llm")
        write_tower(folder / "tower")
        settings = ImageSettings.from_folder(folder / "tower", pad_to_square=True)
        images, tokens = ImageWriter(Place(folder / "images"), settings), TokenWriter(Place(folder / "tokens"))
        held_out = TokenWriter(Place(folder / "held-out"))
        for row in range(NUM_SAMPLES + NUM_HELD_OUT):
            ids, labels = random_row(8 + row % 5, image=row % 3 != 0, seed=row)
            key = f"image-{row}"
            images.add(key, bytes((7 * row + i) % 256 for i in range(IMAGE_SIZE * IMAGE_SIZE * 3)))
            source = "tiny.json" if row % 3 else "text.json"
            side = tokens if row < NUM_SAMPLES else held_out
            side.add(Sample(source, row, None, (key,) if row % 3 else (), tuple(ids), tuple(labels)))
        for part in (images, tokens, held_out):
            part.finish()
        return cls(folder)

    def config(self, storage: Path, *, num_ranks: int = 2, attempt: int = 1, **task: Any) -> RunConfig:
        """Describe an attempt; the prepared set is named in `storage`, which is made if need be."""
        storage.mkdir(parents=True, exist_ok=True)
        parts_of_set = {part: str(self.folder / part) for part in ("images", "tokens")}
        if task.get("validation"):
            parts_of_set["held_out"] = str(self.folder / "held-out")
        (storage / "set.json").write_text(json.dumps(parts_of_set))
        settings = {"prepared": str(storage / "set.json"), "llm": full(), "epochs": 2, "save_every_steps": 2} | task
        training = train_task(deepspeed=settings.pop("deepspeed", DeepspeedSpec()), **settings)
        parts = training.model.model_copy(
            update={"llm": str(self.folder / "llm"), "vision_tower": str(self.folder / "tower")}
        )
        return RunConfig(
            job=JobRef(kind=JobKind.TRAIN, namespace="default", name="tiny", uid="uid-1"),
            stage=Stage.FINETUNE,
            attempt=attempt,
            num_ranks=num_ranks,
            storage=StorageTarget(uri=str(storage)),
            hang_timeout_seconds=60,
            task=training.model_copy(update={"model": parts}),
        )


@dataclass(frozen=True)
class Ended:
    """How a launch ended."""

    code: int
    result: StageResult
    log: str


def start(config: RunConfig, folder: Path, *, command: tuple[str, ...] = ("-m", "llava_trainer.launch")) -> Running:
    """Launch an attempt as the local backend does; files go to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(config.model_dump_json())
    env = os.environ | ENVIRONMENT | {
        "LLAVA_RESULT_FILE": str(folder / "result.json"), "LLAVA_PROGRESS_FILE": str(folder / "progress.json"),
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, str(folder / "run.json")],
            env=env,
            stderr=log,
            stdout=log,
            start_new_session=True,
        )
    return Running(process, folder)


def wait_for(claim: Callable[[], bool], *, timeout_s: float = 180) -> None:
    """Return as soon as `claim` holds; fail when it does not come true."""
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "it never came true"
        threading.Event().wait(0.01)


@dataclass(frozen=True)
class Running:
    """A launch under way."""

    process: subprocess.Popen[bytes]
    folder: Path

    def log(self) -> str:
        """What the launcher and its ranks have said so far."""
        return (self.folder / "log").read_text()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:  # the ranks notice that their launcher is gone
            self.process.kill()
            self.process.wait()

    def wait(self, timeout_s: float = 240) -> Ended:
        """Wait for its end, and see to it that it comes."""
        with self:
            code = self.process.wait(timeout_s)
        log = self.log()
        file = self.folder / "result.json"
        assert file.exists(), log
        return Ended(code, StageResult.model_validate_json(file.read_bytes()), log)


def losses(storage: Path) -> list[tuple[int, float, float]]:
    """Step, loss and gradient norm of the whole trace, to the bit."""
    return [(row.step, row.loss, row.grad_norm) for row in History.read(open_storage(str(storage)), "finetune")]


def last_commit(result: StageResult) -> CheckpointRef:
    """The checkpoint that a result names."""
    assert result.checkpoint is not None
    return result.checkpoint


@dataclass(frozen=True)
class TrainingPlace:
    """A storage and attempts beside it."""

    job: TinyJob
    folder: Path

    @property
    def storage(self) -> Path:
        """Where the job keeps everything."""
        return self.folder / "storage"

    def config(self, attempt: int = 1, **changes: Any) -> RunConfig:
        """Describe an attempt."""
        return self.job.config(self.storage, attempt=attempt, **changes)

    def begin(self, config: RunConfig) -> Running:
        """Launch an attempt."""
        return start(config, self.folder / f"attempt-{config.attempt}")

    def train(self, config: RunConfig) -> Ended:
        """Launch an attempt and wait for its end."""
        return self.begin(config).wait()

    def committed(self) -> list[Path]:
        """The manifests of all checkpoints."""
        return list(self.storage.glob("checkpoints/**/MANIFEST.json"))

    def weights(self, ended: Ended) -> dict[str, list[float]]:
        """What an attempt has trained."""
        read = read_weights(open_storage(str(self.storage)), last_commit(ended.result).uri)
        return {name: tensor.flatten().tolist() for name, tensor in read.items()}
