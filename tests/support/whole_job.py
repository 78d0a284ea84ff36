"""A whole job of real parts, small enough for a test: the shipped tiny towers and a few dozen drawn rows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from llava_contract.run import CACHE_DIR_ENV
from support.training_job import ENVIRONMENT
from support.tree import ROOT

TOWERS = ROOT / "examples/tiny/towers"
NUM_ROWS = 48
COLOURS = ("red", "green", "blue", "yellow")


def write_rows(folder: Path) -> dict[str, str]:
    """Draw squares and write captions of them; give a data source."""
    folder.mkdir(parents=True)
    rows = []
    for number in range(NUM_ROWS):
        colour = COLOURS[number % len(COLOURS)]
        Image.new("RGB", (40, 32 + number), colour).save(folder / f"{number}.png")
        turns = [{"from": "human", "value": "<image>\nWhat colour?"}, {"from": "gpt", "value": colour}]
        rows.append({"id": str(number), "image": f"{number}.png", "conversations": turns})
    (folder / "rows.json").write_text(json.dumps(rows))
    return {"annotations": str(folder / "rows.json"), "images": str(folder)}


def stage(data: dict[str, str], **settings: Any) -> dict[str, Any]:
    """Describe one training stage."""
    common = {"batchSize": 4, "learningRate": 1e-3, "maxLength": 64, "precision": "fp32"}
    return {"data": [data], **common, **settings}


def write_job(file: Path, **stages: Any) -> Path:
    """Write a job file for two ranks without GPUs."""
    spec = {
        "model": {
            "llm": {"uri": str(TOWERS / "llama")},
            "visionTower": {"uri": str(TOWERS / "clip")},
            "promptTemplate": "vicuna",
        },
        "storage": {"uri": "file:///unused"},
        "workers": {"gpusPerWorker": 0, "ranksPerWorker": 2},
        "checkpoint": {"everySteps": 3},
        **stages,
    }
    job = {"apiVersion": "llava.dev/v1alpha1", "kind": "LlavaTrainJob", "metadata": {"name": "whole"}, "spec": spec}
    file.write_text(yaml.safe_dump(job))
    return file


@dataclass
class WholeRun:
    """A `llava run` under way; its progress is read line by line from its output."""

    process: subprocess.Popen[str]
    folder: Path

    @property
    def home(self) -> Path:
        """Where the run keeps what it knows of the job; in the cache when the storage is elsewhere."""
        return next(self.folder.glob("cache/jobs/*"), self.folder)

    def lines(self) -> Iterator[dict[str, Any]]:
        """What the run says, as it says it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)

    def until_step(self, name: str, step: int) -> None:
        """Read on until a stage has done so many steps."""
        for line in self.lines():
            if line.get("stage") == name and (line.get("step") or 0) >= step and line["state"] == "Running":
                return
        raise AssertionError(f"the run ended before {name} did {step} steps")

    def rank_pids(self) -> list[int]:
        """Process ids of the ranks that are alive, found by their command line."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if "llava_trainer" in words and any(word.startswith(str(self.folder)) for word in words):
                found.append(int(entry.name))
        return sorted(found)

    def end(self) -> dict[str, Any]:
        """Read to the end; give the job's status."""
        list(self.lines())
        assert self.process.wait() == 0, (self.folder / "stderr").read_text()[-3000:]
        return dict(json.loads((self.home / "job.json").read_text())["status"])


@contextmanager
def running(job: Path, folder: Path, *, in_folder: bool = True) -> Iterator[WholeRun]:
    """Start `llava run`, with `folder` as its storage or beside the job's own, and end it with the block."""
    folder.mkdir()
    command = [sys.executable, "-m", "llava_cli.main", "run", str(job)]
    command += ["--dir", str(folder)] if in_folder else []
    env = os.environ | ENVIRONMENT | {CACHE_DIR_ENV: str(folder / "cache")}
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env)
    with process:
        try:
            yield WholeRun(process, folder)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
