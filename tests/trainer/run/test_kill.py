"""A rank killed with SIGKILL in the finetune stage costs a restart and changes nothing in the result."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from llava_trainer.checkpoint.restore import read_weights
from llava_trainer.storage import open_storage
from support.whole_job import running, stage, write_job, write_rows

LORA = {"mode": "lora", "lora": {"rank": 8, "alpha": 16, "dropout": 0.05}}
NUM_STEPS = 24


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    home = tmp_path_factory.mktemp("undisturbed")
    data = write_rows(home / "data")
    stages = {"pretrain": stage(data, maxSteps=4), "finetune": stage(data, maxSteps=NUM_STEPS, llm=LORA)}
    with running(write_job(home / "job.yaml", **stages), home / "run") as run:
        return home, run.end()


@pytest.fixture(scope="module")
def killed(undisturbed: tuple[Path, dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """The same finetune, from the same projector, with a rank killed after its second checkpoint."""
    home, status = undisturbed
    data = {"annotations": str(home / "data/rows.json"), "images": str(home / "data")}
    projector = status["artifacts"]["pretrainWeights"]
    finetune = stage(data, maxSteps=NUM_STEPS, llm=LORA, pretrainedProjector=projector)
    with running(write_job(home / "killed.yaml", finetune=finetune), home / "killed") as run:
        run.until_step("finetune", 7)
        os.kill(run.rank_pids()[-1], signal.SIGKILL)
        return home, run.end()


def test_the_job_succeeds_with_one_restart(killed: tuple[Path, dict[str, Any]]) -> None:
    _, status = killed
    assert (status["phase"], status["restarts"]) == ("Succeeded", 1)


def test_the_evidence_names_the_kill(killed: tuple[Path, dict[str, Any]]) -> None:
    history = next(stage for stage in killed[1]["stages"] if stage["name"] == "finetune")["history"]
    assert [(record["exitCode"], record["reason"]) for record in history] == [(137, "Killed")]


def test_the_second_attempt_resumes_from_a_checkpoint(killed: tuple[Path, dict[str, Any]]) -> None:
    logs = [log.read_text() for log in sorted((killed[0] / "killed/attempts").glob("*finetune*/log"))]
    assert len(logs) == 2
    assert "going on from step" in logs[1]


def test_the_final_weights_are_those_of_the_undisturbed_run(
    undisturbed: tuple[Path, dict[str, Any]], killed: tuple[Path, dict[str, Any]]
) -> None:
    home = undisturbed[0]
    want, got = weights(home / "run", undisturbed[1]), weights(home / "killed", killed[1])
    assert want.keys() == got.keys()
    assert [name for name in want if not want[name].equal(got[name])] == []


def weights(folder: Path, status: dict[str, Any]) -> dict[str, Any]:
    return read_weights(open_storage(str(folder)), status["artifacts"]["finetuneWeights"])
