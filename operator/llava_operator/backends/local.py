"""Attempts as processes of this machine, with folders of run.json, process.json, result.json, progress.json, log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from llava_contract import causes
from llava_contract.result import PROGRESS_FILE_ENV, RESULT_FILE_ENV, Progress, StageResult
from llava_contract.run import RunConfig
from llava_contract.schema import Schema
from llava_operator.backends.base import Attempt
from llava_operator.backends.local_processes import ProcessWatch, send_signal
from llava_operator.core.job import Job
from llava_operator.core.observe import AttemptState, Observed, ObservedAttempt
from llava_operator.core.plan import Plan, StagePlan
from llava_operator.errors import CannotStart
from llava_operator.local_folder import prepare_folder, write_whole

__all__ = ["LAUNCH", "LocalBackend"]

LAUNCH: Final = (sys.executable, "-m", "llava_trainer.launch")
"""What runs a run.json."""
_GRACE_S: Final = 120.0
_ORPHAN_GRACE_S: Final = 1.0
_RANK_VARIABLES: Final = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Threads that spin while they wait take the cores from those that work: ten times slower with two ranks on two cores.
_VARIABLES: Final = {"OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}
# One thread a rank: ranks of a small machine do not fight for its cores, and sums keep their order on every machine.
_CPU_VARIABLES: Final = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}

Model = TypeVar("Model", bound=BaseModel)


class ProcessRecord(Schema):
    """The launcher that was started for an attempt."""

    pid: int


class LocalBackend:
    """The backend port over subprocesses; survives its own death: a later one finds what still runs."""

    def __init__(
        self,
        folder: Path,
        *,
        command: Sequence[str] = LAUNCH,
        grace_s: float = _GRACE_S,
        on_exit: Callable[[], None] = lambda: None,
    ) -> None:
        self._attempts = folder.resolve() / "attempts"
        self._processes = ProcessWatch(self._attempts)
        self._command = tuple(command)
        self._grace_s = grace_s
        self._on_exit = on_exit
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._asked_at: dict[str, float] = {}

    def observe(self, job: Job) -> Observed:  # noqa: ARG002  every attempt in the folder is this job's or in its way
        """See all attempts in the folder."""
        living = self._processes.living()
        seen = [self._see(file.parent, living) for file in sorted(self._attempts.glob("*/run.json"))]
        return Observed(tuple(attempt for attempt in seen if attempt))

    def see(self, child: str) -> ObservedAttempt | None:
        """See one attempt; None when it was never started."""
        return self._see(self._attempts / child, self._processes.living())

    def admit(self, first: Attempt, plan: Plan) -> None:
        """Take every attempt: this machine refuses none before its process does."""

    def start(self, attempt: Attempt) -> None:
        """Start the launcher in a session of its own, so that Ctrl-C on the terminal reaches us alone."""
        folder = self._attempts / attempt.child
        if self.see(attempt.child) is not None:
            return
        prepare_folder(folder)
        write_whole(folder / "run.json", attempt.config.model_dump_json(indent=2) + "\n")
        try:
            with (folder / "log").open("ab") as log:
                process = subprocess.Popen(  # noqa: S603  our own command
                    [*self._command, str(folder / "run.json")],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=_environment(folder, attempt.plan),
                    start_new_session=True,
                )
        except OSError as error:
            raise CannotStart(f"{self._command[0]} cannot be started: {error.strerror}.") from error
        self._started[attempt.child] = process
        write_whole(folder / "process.json", ProcessRecord(pid=process.pid).model_dump_json())
        threading.Thread(target=self._await_exit, args=[process], daemon=True).start()

    def stop(self, child: str) -> None:
        """Ask the launcher to leave, and kill what still lives once its grace period is over.

        Nobody would hear of what processes without a launcher do: they get a moment to clean up, and no question.
        """
        members = self._processes.living().get(child, ())
        launcher = self._launcher(child)
        grace_s = self._grace_s if launcher in members else min(self._grace_s, _ORPHAN_GRACE_S)
        asked_at = self._asked_at.get(child)
        if asked_at is None:
            self._asked_at[child] = time.monotonic()
            send_signal(tuple(pid for pid in members if pid == launcher), signal.SIGTERM)
        elif time.monotonic() - asked_at >= grace_s:
            send_signal(members, signal.SIGKILL)

    def stop_all(self) -> None:
        """Ask everything in the folder to leave, and do not look back."""
        for child in self._processes.living():
            self.stop(child)

    def end_grace(self) -> None:
        """Wait for no attempt any longer: the next stop kills."""
        self._grace_s = 0.0

    def log(self, child: str) -> Path:
        """Where the attempt's output is."""
        return self._attempts / child / "log"

    def _await_exit(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._on_exit()

    def _launcher(self, child: str) -> int | None:
        record = _read(self._attempts / child / "process.json", ProcessRecord)
        return record.pid if record else None

    def _see(self, folder: Path, living: dict[str, tuple[int, ...]]) -> ObservedAttempt | None:
        child, members = folder.name, living.get(folder.name, ())
        config, result = _read(folder / "run.json", RunConfig), _read(folder / "result.json", StageResult)
        was_started = child in self._started or members or result or (folder / "process.json").exists()
        if config is None or not was_started:
            return None
        code = self._exit_code(child, members, result)
        progress = _read(folder / "progress.json", Progress)
        return ObservedAttempt(
            child,
            config.stage,
            config.attempt,
            state=_state(code),
            exit_code=code,
            result=result,
            progress=progress,
            # Whoever wrote it looked at the same clock.
            moved_at=progress.time if progress else None,
            members=tuple(map(str, members)),
        )

    def _exit_code(self, child: str, members: tuple[int, ...], result: StageResult | None) -> int | None:
        """None while it runs. The kernel's word where it is our own child, else the result's, else it is lost."""
        process, launcher = self._started.get(child), self._launcher(child)
        is_alive = launcher in members if launcher else bool(members)
        code: int | None
        if process is not None:
            code = process.poll()
            code = 128 - code if code is not None and code < 0 else code
        elif is_alive:
            code = None
        else:
            code = result.exit_code if result else causes.LOST.exit_code
        # A success without a result made nothing that the next stage could use.
        return causes.UNEXPECTED.exit_code if code == 0 and (result is None or result.exit_code) else code


def _state(code: int | None) -> AttemptState:
    if code is None:
        return AttemptState.RUNNING
    return AttemptState.FAILED if code else AttemptState.SUCCEEDED


def _environment(folder: Path, plan: StagePlan) -> dict[str, str]:
    """Ours, without what another gang's launcher may have left in it."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("PET_") and k not in _RANK_VARIABLES}
    defaults = {**_VARIABLES, **(_CPU_VARIABLES if plan.is_cpu_job else {})}
    files = {RESULT_FILE_ENV: str(folder / "result.json"), PROGRESS_FILE_ENV: str(folder / "progress.json")}
    hidden = {} if plan.gpus_per_worker else {"CUDA_VISIBLE_DEVICES": ""}
    return {**defaults, **own, **files, **hidden}


def _read(file: Path, model: type[Model]) -> Model | None:
    """Read evidence; a file that is not there or not whole is none."""
    try:
        return model.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
