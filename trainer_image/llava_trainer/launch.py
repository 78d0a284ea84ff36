"""The process that a pod or a local attempt starts: it starts the ranks, hands signals on, and says how it all ended.

It must work as PID 1, and it must have an answer for ranks that died without a word. One rank is a plain subprocess and
costs no import of torch; several are started by torchelastic's API, because torchrun turns every exit code into 1.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from pydantic import ValidationError

from llava_contract import causes
from llava_contract.result import PROGRESS_FILE_ENV, RESULT_FILE_ENV, Progress, StageResult
from llava_contract.run import RunConfig
from llava_trainer.ranks import RANK_FOLDER_ENV, RankFolder
from llava_trainer.tracking.pages import serve_where_asked

__all__ = ["Failure", "Gang", "blame", "main"]

_TERMINATION_LOG: Final = Path("/dev/termination-log")
_FORWARDED: Final = {signal.SIGTERM: signal.SIGTERM, signal.SIGINT: signal.SIGINT, signal.SIGHUP: signal.SIGTERM}
_RENDEZVOUS_TIMEOUT_S: Final = 900


@dataclass(frozen=True, slots=True)
class Gang:
    """All ranks of an attempt as one node sees them."""

    num_nodes: int
    ranks_per_node: int
    node_rank: int
    master: str
    """host:port of node 0; empty on a single node, which needs none."""

    @classmethod
    def from_environment(cls, env: Mapping[str, str], *, num_ranks: int) -> Gang:
        """Read PET_*, as the Training Operator sets them; without them all ranks are on this machine."""
        num_nodes = int(env.get("PET_NNODES", 1))
        master = f"{env['PET_MASTER_ADDR']}:{env.get('PET_MASTER_PORT', '23456')}" if num_nodes > 1 else ""
        per_node = env.get("PET_NPROC_PER_NODE", "")
        ranks_per_node = int(per_node) if per_node.isdigit() else num_ranks // num_nodes
        return cls(num_nodes, ranks_per_node, int(env.get("PET_NODE_RANK", 0)), master)

    @property
    def world_size(self) -> int:
        """Ranks in all."""
        return self.num_nodes * self.ranks_per_node


@dataclass(frozen=True, slots=True)
class Failure:
    """A rank that ended with another code than 0; `code` is the shell's view, 128 + n for signal n."""

    rank: int
    code: int
    time: float
    is_consequence: bool


def main(argv: list[str], *, rank_command: Sequence[str] = ("-m", "llava_trainer")) -> int:
    """Run the attempt that the run file describes; give the exit code of its earliest failure, 0 if there was none.

    `rank_command` is what Python runs on each rank, given the same arguments.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname).1s launch: %(message)s"
    )
    run_file = argv[0] if argv else ""
    config = _peek(run_file)
    with tempfile.TemporaryDirectory(prefix="llava-ranks-") as private:
        folder = RankFolder(Path(private))
        os.environ[RANK_FOLDER_ENV] = private
        progress_file = Path(os.environ.setdefault(PROGRESS_FILE_ENV, str(folder.path / "progress.json")))
        _forward_signals(folder)
        gang = Gang.from_environment(os.environ, num_ranks=config.num_ranks if config else 1)
        if config and gang.node_rank == 0:
            serve_where_asked(os.environ, progress_file, job=config.job)
        if config and gang.world_size != config.num_ranks:
            result = _mismatch(config, gang)
        elif folder.asked is not None:
            failure = Failure(0, 128 + folder.asked, time.time(), is_consequence=False)
            result = _Attempt(config, folder, None).failed(failure)
        else:
            failures = _start(gang, [*rank_command, *argv], folder)
            attempt = _Attempt(config, folder, _last_progress(progress_file, config))
            result = attempt.failed(blame(failures)) if failures else attempt.succeeded(gang)
    _publish(result)
    return result.exit_code


def _peek(run_file: str) -> RunConfig | None:
    # A rank reads the same file and says what is wrong with it; here only the number of ranks matters.
    try:
        return RunConfig.model_validate_json(Path(run_file).read_bytes())
    except (OSError, ValidationError):
        return None


def _forward_signals(folder: RankFolder) -> None:
    """Hand SIGTERM, SIGINT and SIGHUP to every rank; ranks sit in sessions of their own: a Ctrl-C reaches them once."""

    def forward(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (the signature of a handler)
        sent = _FORWARDED[signal.Signals(number)]
        folder.ask_to_leave(sent)
        for pid in folder.pids():
            try:
                os.kill(pid, sent)
            except ProcessLookupError:
                continue

    for number in _FORWARDED:
        signal.signal(number, forward)


def _start(gang: Gang, command: list[str], folder: RankFolder) -> list[Failure]:
    """Start this node's ranks and wait for all of them; give those that failed."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // gang.ranks_per_node)))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # ranks that spin while they wait take turns: 10 times slower
    if gang.world_size == 1:
        env = {**os.environ, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        code = subprocess.Popen([sys.executable, *command], env=env, start_new_session=True).wait()  # noqa: S603
        return [Failure(0, _shell_code(code), time.time(), is_consequence=False)] if code else []
    return _start_elastic(gang, command, folder)


def _start_elastic(gang: Gang, command: list[str], folder: RankFolder) -> list[Failure]:
    from torch.distributed import DistNetworkError, DistStoreError  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.elastic.rendezvous import RendezvousError  # noqa: PLC0415
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    is_alone = gang.num_nodes == 1
    config = LaunchConfig(
        min_nodes=gang.num_nodes,
        max_nodes=gang.num_nodes,
        nproc_per_node=gang.ranks_per_node,
        run_id=uuid.uuid4().hex if is_alone else "llava",
        # Port 0: the store itself picks a free one and tells the ranks, so nobody can take it in between.
        rdzv_backend="c10d" if is_alone else "static",
        rdzv_endpoint="localhost:0" if is_alone else gang.master,
        rdzv_configs={"timeout": _RENDEZVOUS_TIMEOUT_S} | ({} if is_alone else {"rank": gang.node_rank}),
        local_addr="localhost" if is_alone else None,
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder.path / "elastic")),
        signals_to_handle="SIGQUIT",  # the others are ours: torchelastic would kill after 30 s, grace or not
    )
    for module in ("multiprocessing.api", "agent.server.api"):  # they tell again, less exactly, what our result tells
        logging.getLogger(f"torch.distributed.elastic.{module}").setLevel(logging.CRITICAL)
    try:
        elastic_launch(config, sys.executable)(*command)
    except ChildFailedError as error:
        return [
            _failure(folder, rank, code=failure.exitcode, seen_at=failure.timestamp)
            for rank, failure in error.failures.items()
        ]
    except (DistNetworkError, DistStoreError, RendezvousError) as error:
        # The gang never met, or lost its meeting place: no rank of this node did anything wrong.
        logging.getLogger(__name__).error("no rendezvous at %s: %s", gang.master or "localhost", error)
        rank = gang.node_rank * gang.ranks_per_node
        return [Failure(rank, causes.INFRASTRUCTURE.exit_code, time.time(), is_consequence=True)]
    return []


def _failure(folder: RankFolder, rank: int, *, code: int, seen_at: float) -> Failure:
    """Join what torchelastic saw, in whole seconds, with what the rank said.

    A rank that was stopped because a peer had failed is a consequence; unless this launcher was asked to stop everyone.
    """
    word = folder.word(rank)
    was_told = code in (-signal.SIGTERM, causes.TERMINATED.exit_code) and folder.asked is None
    is_consequence = was_told or (word is not None and word.is_consequence)
    # Whole seconds round down: one more keeps a silent rank behind a peer that told the exact moment.
    return Failure(rank, _shell_code(code), word.time if word else seen_at + 1, is_consequence)


def blame(failures: list[Failure]) -> Failure:
    """The failure that came first; those that others caused count only if there is nothing else."""
    return min(failures, key=lambda failure: (failure.is_consequence, failure.time, failure.rank))


def _shell_code(code: int) -> int:
    return 128 - code if code < 0 else code


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What the launcher knows of an attempt that is over; `config` is None when the run file could not be read."""

    config: RunConfig | None
    folder: RankFolder
    progress: Progress | None

    def succeeded(self, gang: Gang) -> StageResult:
        """What the first rank of this node said; a silent success is a failure."""
        rank = gang.node_rank * gang.ranks_per_node
        word = self.folder.word(rank)
        lost = Failure(rank, causes.UNEXPECTED.exit_code, time.time(), is_consequence=False)
        return word.result if word else self._silent(lost)

    def failed(self, first: Failure) -> StageResult:
        """What the failed rank said or can be said for it, with the last commit, which the next attempt must find."""
        word = self.folder.word(first.rank)
        result = word.result if word and word.result.exit_code == first.code else self._silent(first)
        progress = self.progress
        if progress is None or result.checkpoint is not None:
            return result
        update = {"step": progress.step, "total_steps": progress.total_steps, "checkpoint": progress.checkpoint}
        return result.model_copy(update=update)

    def _silent(self, failure: Failure) -> StageResult:
        cause = causes.by_exit_code(failure.code)
        where = f" at step {self.progress.step:,} of {self.progress.total_steps:,}" if self.progress else ""
        return StageResult(
            stage=self.config.stage.value if self.config else "unknown",
            attempt=self.config.attempt if self.config else 0,
            exit_code=failure.code,
            reason=cause.reason,
            message=f"Rank {failure.rank} ended with exit code {failure.code}{where}. {cause.advice}",
        )


def _last_progress(file: Path, config: RunConfig | None) -> Progress | None:
    try:
        progress = Progress.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
    is_ours = config is not None and (progress.stage, progress.attempt) == (config.stage, config.attempt)
    return progress if is_ours else None


def _mismatch(config: RunConfig, gang: Gang) -> StageResult:
    shape = f"{gang.num_nodes} x {gang.ranks_per_node}"
    return StageResult(
        stage=config.stage.value,
        attempt=config.attempt,
        exit_code=causes.INVALID_SPEC.exit_code,
        reason=causes.INVALID_SPEC.reason,
        message=f"numRanks is {config.num_ranks}, but PET_NNODES x PET_NPROC_PER_NODE is {shape}; make them agree.",
    )


def _publish(result: StageResult) -> None:
    """Write the result where kubelet or local backend look; a machine without either has only the exit code."""
    named = os.environ.get(RESULT_FILE_ENV)
    file = Path(named) if named else _TERMINATION_LOG
    if not named and not file.exists():
        return
    try:
        file.write_bytes(result.to_message())
    except OSError as error:
        logging.getLogger(__name__).warning("the result cannot be written to %s: %s", file, error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
