"""One rank of one attempt: the run file in, the stage run, a last word and an exit code out.

The only place that catches everything.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import logging
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast

from pydantic import ValidationError

from llava_contract import causes
from llava_contract.result import RESULT_FILE_ENV, Artifact, StageResult
from llava_contract.run import ConvertTask, EvaluateTask, PrepareTask, RunConfig, TrainTask
from llava_trainer.errors import Interrupted, InvalidSpec, LlavaError, Terminated
from llava_trainer.ranks import LastWord, RankFolder, Ranks, StopFlag
from llava_trainer.tracking.progress import ProgressWriter, StageContext
from llava_trainer.tracking.record import Record

__all__ = ["Explanation", "explain", "main", "read_run_file"]

_STAGES: Final = {PrepareTask: "prepare", TrainTask: "train", ConvertTask: "convert", EvaluateTask: "evaluate"}
_GANG_FAILURES: Final = ("gloo", "NCCL", "ProcessGroup", "DistNetworkError", "DistStoreError", "closed by peer")
_PR_SET_PDEATHSIG: Final = 1


class StageModule(Protocol):
    """What each module in stages/ offers."""

    def import_heavy(self, config: RunConfig) -> None:
        """Import what takes seconds, up front, so that it can be told apart from the work."""

    def run(self, config: RunConfig, context: StageContext) -> StageResult:
        """Do the stage's work."""


def main(argv: list[str]) -> int:
    """Run the stage that the run file describes; give the exit code of its cause."""
    ranks, folder, stop = Ranks.from_environment(), RankFolder.from_environment(), StopFlag()
    _log_to_stderr(ranks.rank)
    config: RunConfig | None = None
    record: Record | None = None
    is_consequence = False
    try:
        stop.install()
        _follow_launcher(folder, ranks.rank, stop)
        if len(argv) != 1:
            raise InvalidSpec("Usage: python -m llava_trainer RUN.json")
        config = read_run_file(Path(argv[0]))
        record = _begin_record(config, ranks)
        result = _run(config, ranks, stop)
    except BaseException as error:  # noqa: BLE001  (the outermost caller: every failure gets a name, a code and a sentence)
        explanation = explain(error)
        if explanation.cause is causes.UNEXPECTED:
            traceback.print_exception(error)
        result, is_consequence = _failure(config, explanation), explanation.is_consequence
        logging.getLogger(__name__).error("%s: %s", result.reason, result.message)
    if folder is not None:
        folder.leave_word(LastWord(rank=ranks.rank, time=time.time(), is_consequence=is_consequence, result=result))
    _end_record(record, result)
    return result.exit_code


def read_run_file(path: Path) -> RunConfig:
    """Read and check a run file; InvalidSpec names the first field that is wrong."""
    try:
        return RunConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidSpec(
            f"{path}: the run file cannot be read ({error.strerror}); give the path of a RunConfig."
        ) from error
    except ValidationError as error:
        # A field that is not known explains the one that is missing: it is misspelt.
        first = min(error.errors(include_url=False), key=lambda found: found["type"] != "extra_forbidden")
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidSpec(f"{path}: {place}: {first['msg']}; correct this field of the run file.") from error


def _run(config: RunConfig, ranks: Ranks, stop: StopFlag) -> StageResult:
    stage = cast(StageModule, importlib.import_module(f"llava_trainer.stages.{_STAGES[type(config.task)]}"))
    stage.import_heavy(config)
    imported_at = _seconds_since_start()
    progress = ProgressWriter.from_environment(config.stage, config.attempt, rank=ranks.rank)
    result = stage.run(config, StageContext(ranks.rank, ranks.world_size, progress, stop))
    seconds = {"import": round(imported_at, 3), "work": round(_seconds_since_start() - imported_at, 3)}
    return result.model_copy(update={"seconds": {**result.seconds, **seconds}})


def _begin_record(config: RunConfig, ranks: Ranks) -> Record | None:
    """Begin the attempt's record on rank 0, unless a local backend keeps the attempt's files itself.

    A storage that refuses it is the stage's to complain about.
    """
    if ranks.rank != 0 or RESULT_FILE_ENV in os.environ:
        return None
    try:
        return Record.begin(config)
    except (Interrupted, Terminated):
        raise
    except LlavaError:
        return None


def _end_record(record: Record | None, result: StageResult) -> None:
    """End the record, and tell the report what only this moment knows: how long its own stage took."""
    if record is None:
        return
    try:
        record.end(result)
        if Artifact.REPORT in result.artifacts:
            from llava_trainer.report.collect import collect  # noqa: PLC0415  (only evaluate needs it)
            from llava_trainer.report.page import write_report  # noqa: PLC0415

            write_report(record.storage, collect(record.storage))
    except LlavaError as error:
        logging.getLogger(__name__).warning("the record of this attempt is not whole: %s", error)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an exception means to the user; a consequence is the fault of another rank that died first."""

    cause: causes.Cause
    message: str
    is_consequence: bool = False


def explain(error: BaseException) -> Explanation:  # noqa: PLR0911  (a table)
    """Name the cause behind any exception, and the sentence that the user reads."""
    text = _first_line(f"{type(error).__name__}: {error}")
    match error:
        case LlavaError():
            return Explanation(error.cause, str(error))
        case KeyboardInterrupt():
            return Explanation(causes.INTERRUPTED, f"Interrupted. {causes.INTERRUPTED.advice}")
        case MemoryError():
            return Explanation(causes.OUT_OF_MEMORY, f"Out of memory ({text}). {causes.OUT_OF_MEMORY.advice}")
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return Explanation(causes.NO_SPACE, f"No space left ({text}). {causes.NO_SPACE.advice}")
        case OSError(errno=errno.EROFS):
            return Explanation(causes.UNWRITABLE, f"Read-only file system ({text}). {causes.UNWRITABLE.advice}")
        case RuntimeError() if "OutOfMemory" in text or "DefaultCPUAllocator" in text:
            return Explanation(causes.OUT_OF_MEMORY, f"Out of memory ({text}). {causes.OUT_OF_MEMORY.advice}")
        case RuntimeError() if any(word in text for word in _GANG_FAILURES):
            message = f"The ranks lost each other ({text}). {causes.INFRASTRUCTURE.advice}"
            return Explanation(causes.INFRASTRUCTURE, message, is_consequence=True)
    return Explanation(causes.UNEXPECTED, f"{text}; the log has the trace.")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:400]


def _failure(config: RunConfig | None, why: Explanation) -> StageResult:
    return StageResult(
        stage=config.stage.value if config else "unknown",
        attempt=config.attempt if config else 0,
        exit_code=why.cause.exit_code,
        reason=why.cause.reason,
        message=why.message,
    )


def _follow_launcher(folder: RankFolder | None, rank: int, stop: StopFlag) -> None:
    """Leave when the launcher is told to leave, and when it vanishes without a word."""
    if folder is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    folder.announce(rank)
    if (number := folder.asked) is not None:
        stop.request(number)


def _log_to_stderr(rank: int) -> None:
    prefix = "" if rank == 0 else f"rank {rank}: "
    level = logging.INFO if rank == 0 else logging.WARNING
    logging.basicConfig(stream=sys.stderr, level=level, format=f"%(asctime)s %(levelname).1s {prefix}%(message)s")
    logging.captureWarnings(True)


def _seconds_since_start() -> float:
    """Seconds since this process began, interpreter start included (Linux), or since this module was loaded."""
    try:
        # Field 22 of stat, counted after the command's closing parenthesis: clock ticks between boot and the start.
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return time.monotonic() - _LOADED_AT


_LOADED_AT: Final = time.monotonic()

if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    if code:
        os._exit(code)  # a broken gang's threads must not hold up a rank that has said its last word
    sys.exit(0)
