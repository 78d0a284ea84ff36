"""One stage without a job: what `llava evaluate` needs of the local backend."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from signal import Signals

from llava_contract import causes
from llava_contract.result import Progress, StageResult
from llava_contract.run import RunConfig
from llava_operator.backends.base import Attempt
from llava_operator.backends.local import LocalBackend
from llava_operator.bell import Bell
from llava_operator.core.observe import AttemptState, ObservedAttempt
from llava_operator.core.plan import StagePlan
from llava_operator.errors import Interrupted
from llava_operator.local_folder import locked_folder, prepare_folder
from llava_operator.local_run import asked_to_leave

__all__ = ["run_stage"]

_LOOK_S = 1.0


def run_stage(
    config: RunConfig,
    work_dir: Path,
    *,
    backend: Callable[..., LocalBackend] = LocalBackend,
    show: Callable[[Progress], None] = lambda _: None,
) -> StageResult:
    """Run one attempt in work_dir, on a GPU where there is one, and give back what it said, a failure included.

    Raises Interrupted after Ctrl-C or SIGTERM, once the attempt has left; DirectoryBusy, Unwritable and NoSpace before.
    """
    plan = StagePlan(
        config.stage,
        num_workers=1,
        num_ranks=config.num_ranks,
        gpus_per_worker=1,
        is_training=False,
        is_cpu_job=False,
    )
    prepare_folder(work_dir)
    with locked_folder(work_dir), Bell() as bell:
        runs = backend(work_dir, on_exit=bell.ring)
        with asked_to_leave(bell.ring, runs.end_grace) as came:
            _clear(runs, config.stage, bell)
            runs.start(Attempt(config.stage, plan, config))
            seen = _until_over(runs, config.stage, bell=bell, came=came, show=show)
    if came:
        raise Interrupted(f"{config.stage} was interrupted.", cause=causes.by_exit_code(128 + came[0]))
    return _result(seen)


def _clear(runs: LocalBackend, child: str, bell: Bell) -> None:
    """Remove an earlier run, after whatever is left of it has ended."""
    while (seen := runs.see(child)) and seen.members:
        runs.stop(child)
        bell.wait(_LOOK_S)
    if seen:
        shutil.rmtree(runs.log(child).parent)


def _until_over(
    runs: LocalBackend, child: str, *, bell: Bell, came: list[Signals], show: Callable[[Progress], None]
) -> ObservedAttempt:
    while True:
        seen = runs.see(child)
        assert seen is not None, f"{child} was started and is not there"
        if seen.progress:
            show(seen.progress)
        if seen.state is not AttemptState.RUNNING:
            return seen
        if came:
            runs.stop(child)
        bell.wait(_LOOK_S)


def _result(seen: ObservedAttempt) -> StageResult:
    if seen.result and seen.result.exit_code == seen.exit_code:
        return seen.result
    assert seen.exit_code is not None, f"{seen.child} is over without an exit code"
    cause = causes.by_exit_code(seen.exit_code)
    return StageResult(
        stage=seen.stage,
        attempt=seen.attempt,
        exit_code=cause.exit_code,
        reason=cause.reason,
        message=f"{seen.stage} ended with exit code {seen.exit_code}. {cause.advice}",
    )
