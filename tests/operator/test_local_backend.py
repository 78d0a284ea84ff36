"""Attempts as processes: what they are given, how they end, and that none survives."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llava_contract import causes
from llava_contract.run import RunConfig, Stage
from llava_operator.backends.base import Attempt
from llava_operator.backends.local import LocalBackend
from llava_operator.backends.local_processes import ProcessWatch
from llava_operator.bell import Bell
from llava_operator.core.observe import AttemptState, ObservedAttempt
from llava_operator.core.plan import plan_job
from llava_operator.core.runfile import run_config
from llava_operator.stage_run import run_stage
from support.jobs import job
from support.local_jobs import TRAINER, LocalJob

DEADLINE_S = 30


class Rig:
    """A backend over the scripted trainer, and its bell."""

    def __init__(self, root: Path) -> None:
        self.local, self.bell = LocalJob(root), Bell()

    def backend(self, **settings: Any) -> LocalBackend:
        self.local.root.joinpath("script.json").write_text(json.dumps(self.local.script))
        return scripted(self.local)(self.local.folder, on_exit=self.bell.ring, **settings)

    def wait_for_end(self, backend: LocalBackend, child: str) -> ObservedAttempt:
        self.bell.wait(DEADLINE_S)
        seen = backend.see(child)
        assert seen is not None
        return seen


def scripted(local: LocalJob) -> Any:
    command = (sys.executable, str(TRAINER), str(local.root / "script.json"))
    return lambda folder, **settings: LocalBackend(folder, command=command, **settings)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def config() -> RunConfig:
    built = job().at(Stage.PREPARE).build()
    return run_config(built, plan_job(built).stages[0])


def attempt(**workers: Any) -> Attempt:
    builder = job().at(Stage.PREPARE).wanting(workers={"gpusPerWorker": 0, **workers})
    return Attempt("child", plan_job(builder.build()).stages[0], config())


@pytest.mark.parametrize(
    ("does", "state", "code"),
    [
        ({}, AttemptState.SUCCEEDED, 0),
        ({"exit": 75}, AttemptState.FAILED, 75),
        ({"kills_itself": True}, AttemptState.FAILED, 137),
        ({"is_silent": True}, AttemptState.FAILED, causes.UNEXPECTED.exit_code),
    ],
)
def test_endings_are_told_apart(rig: Rig, does: dict[str, Any], state: AttemptState, code: int) -> None:
    rig.local.does("prepare", does)
    backend = rig.backend()
    backend.start(attempt())
    seen = rig.wait_for_end(backend, "child")
    assert (seen.state, seen.exit_code, seen.members) == (state, code, ())


def test_starting_twice_starts_once(rig: Rig) -> None:
    backend = rig.backend()
    backend.start(attempt())
    rig.wait_for_end(backend, "child")
    backend.start(attempt())
    rig.backend().start(attempt())
    assert len(rig.local.journal()) == 1


def test_a_later_backend_takes_the_code_from_the_result(rig: Rig) -> None:
    rig.local.does("prepare", {"exit": 12})
    first = rig.backend()
    first.start(attempt())
    rig.wait_for_end(first, "child")
    seen = rig.backend().see("child")
    assert seen is not None
    assert seen.exit_code == 12


def test_a_run_file_that_nobody_started_is_no_attempt(rig: Rig) -> None:
    folder = rig.local.folder / "attempts" / "child"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(config().model_dump_json())
    assert rig.backend().see("child") is None


def test_a_stubborn_attempt_is_killed_after_its_grace(rig: Rig) -> None:
    rig.local.does("prepare", {"hello": rig.local.hello(), "blocks": True, "is_stubborn": True})
    backend = rig.backend(grace_s=0.0)
    backend.start(attempt())
    rig.local.await_hello()
    backend.stop("child")
    backend.stop("child")
    assert rig.wait_for_end(backend, "child").exit_code == 137
    assert ProcessWatch(rig.local.folder / "attempts").living() == {}


@pytest.mark.parametrize(
    ("gpus", "want"),
    [(0, {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}), (1, {"OMP_NUM_THREADS": None, "DS_ACCELERATOR": None})],
)
def test_only_cpu_jobs_are_single_threaded(
    rig: Rig, gpus: int, want: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*want, "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PET_NNODES", "7")
    backend = rig.backend()
    backend.start(attempt(gpusPerWorker=gpus))
    rig.wait_for_end(backend, "child")
    environment = rig.local.journal()[0]["environment"]
    assert {name: environment.get(name) for name in want} == want
    assert "PET_NNODES" not in environment


@pytest.mark.parametrize("does", [{}, {"exit": 12, "message": "row 7"}, {"kills_itself": True}])
def test_one_stage_runs_alone_and_again(rig: Rig, does: dict[str, Any]) -> None:
    rig.local.does("prepare", does)
    rig.backend()
    results = [run_stage(config(), rig.local.folder, backend=scripted(rig.local)) for _ in range(2)]
    assert results[0] == results[1]
    assert results[0].exit_code == (137 if "kills_itself" in does else does.get("exit", 0))
    assert len(rig.local.journal()) == 2


def test_attempts_of_another_job_in_the_folder_are_seen(rig: Rig) -> None:
    backend = rig.backend()
    backend.start(replace(attempt(), child="stranger"))
    rig.wait_for_end(backend, "stranger")
    assert rig.backend().observe(job().build()).child("stranger") is not None
