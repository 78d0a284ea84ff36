"""The scripted trainer of the cluster tests keeps the contract: it does what the real one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llava_contract.result import CheckpointRef, Progress, StageResult
from llava_contract.run import RunConfig
from support.training_job import ENVIRONMENT, Running, TinyJob, wait_for
from support.tree import ROOT

pytestmark = pytest.mark.timeout(300)

TRAINERS = {"real": ("-m", "llava_trainer.launch"), "scripted": (str(ROOT / "tests/support/scripted_pod.py"),)}
STEPS = {"finetune": [{"steps": 24, "paces": 0.05}] * 2}
"""As many steps as the tiny job has."""


@dataclass(frozen=True)
class Said:
    """What an attempt left behind, in the contract's nouns."""

    code: int
    result: StageResult
    progress: Progress | None
    files: frozenset[str]


def begin(trainer: str, text: str, folder: Path, **environment: str) -> Running:
    folder.mkdir()
    (folder / "run.json").write_text(text)
    env = os.environ | ENVIRONMENT | environment | {
        "TRAINER_SCRIPT": json.dumps(STEPS),
        "LLAVA_RESULT_FILE": str(folder / "result.json"), "LLAVA_PROGRESS_FILE": str(folder / "progress.json"),
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        command = [sys.executable, *TRAINERS[trainer], str(folder / "run.json")]
        return Running(subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True), folder)


def end(running: Running) -> Said:
    ended = running.wait()
    file = running.folder / "progress.json"
    progress = Progress.model_validate_json(file.read_bytes()) if file.exists() else None
    names = frozenset(path.name for path in running.folder.iterdir())
    return Said(ended.code, ended.result, progress, names)


def both(tmp_path: Path, text: Callable[[str], str], **environment: str) -> list[Said]:
    """Let both do the same, one after the other."""
    return [end(begin(name, text(name), tmp_path / name, **environment)) for name in TRAINERS]


def alike(said: Said) -> Any:
    """What must be the same, whoever trained."""
    result = said.result
    return (
        said.code, result.exit_code, result.reason, result.stage, result.attempt, bool(result.message), result.step,
        result.total_steps, result.checkpoint and result.checkpoint.step, set(result.artifacts), said.files,
        said.progress and (said.progress.step, said.progress.total_steps, said.progress.unit),
    )  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyJob:
    return TinyJob.write(tmp_path_factory.mktemp("tiny"))


def text_of(tiny: TinyJob, tmp_path: Path, **changes: Any) -> Callable[[str], str]:
    def text(name: str) -> str:
        config: RunConfig = tiny.config(tmp_path / f"storage-{name}", num_ranks=1)
        return config.model_copy(update=changes).model_dump_json()

    return text


@pytest.mark.parametrize("text", ["", "no JSON", '{"stages": 1}'])
def test_a_run_file_that_is_none_is_refused_alike(tmp_path: Path, text: str) -> None:
    real, scripted = both(tmp_path, lambda _: text)
    assert alike(real) == alike(scripted)
    assert real.code == 10


def test_a_field_of_a_later_version_is_refused_alike(tiny: TinyJob, tmp_path: Path) -> None:
    text = text_of(tiny, tmp_path)
    real, scripted = both(tmp_path, lambda name: json.dumps({**json.loads(text(name)), "later": 1}))
    assert (real.code, scripted.code) == (10, 10)
    assert "later" in real.result.message
    assert "later" in scripted.result.message


def test_a_gang_of_another_size_is_refused_alike(tiny: TinyJob, tmp_path: Path) -> None:
    gang = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "3", "PET_MASTER_ADDR": "a", "PET_NODE_RANK": "0"}
    real, scripted = both(tmp_path, text_of(tiny, tmp_path), **gang)
    assert alike(real) == alike(scripted)
    assert real.code == 10


def test_a_stage_that_succeeds_says_the_same(tiny: TinyJob, tmp_path: Path) -> None:
    real, scripted = both(tmp_path, text_of(tiny, tmp_path))
    assert alike(real) == alike(scripted)
    assert real.result.step == STEPS["finetune"][0]["steps"]


def test_a_lost_commit_is_named_alike(tiny: TinyJob, tmp_path: Path) -> None:
    lost = CheckpointRef(uri="/gone/step-8", step=8, manifest_sha256="0" * 64)
    real, scripted = both(tmp_path, text_of(tiny, tmp_path, attempt=2, last_commit=lost))
    assert (real.code, real.result.reason) == (scripted.code, scripted.result.reason) == (19, "CorruptState")


@pytest.mark.parametrize("trainer", TRAINERS)
def test_asked_to_leave_it_saves_and_says_so(tiny: TinyJob, tmp_path: Path, trainer: str) -> None:
    with begin(trainer, text_of(tiny, tmp_path)(trainer), tmp_path / trainer) as running:
        wait_for(lambda: '"step":2' in has_said(running) or '"step": 2' in has_said(running))
        running.process.send_signal(signal.SIGTERM)
        said = end(running)
    assert (said.code, said.result.exit_code, said.result.reason) == (143, 143, "Terminated")
    assert said.result.checkpoint is not None
    assert 2 <= said.result.checkpoint.step == said.result.step < 24


def has_said(running: Running) -> str:
    file = running.folder / "progress.json"
    return file.read_text() if file.exists() else ""
