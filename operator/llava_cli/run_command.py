"""`llava run`: a whole job on this machine, by the same decisions and the same run files as on a cluster."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llava_cli.run_summary import summarise
from llava_cli.run_view import RunView, choose_view
from llava_contract import causes
from llava_contract.conditions import ConditionType
from llava_contract.run import StorageTarget
from llava_contract.v1alpha1.status import JobStatus, Phase, StageStatus
from llava_contract.validate import effective_spec, load_job
from llava_operator.backends.local import LAUNCH, LocalBackend
from llava_operator.bell import Bell
from llava_operator.core.conditions import find_condition
from llava_operator.core.runfile import storage_target
from llava_operator.errors import Interrupted, JobFailed
from llava_operator.local_model import with_model_beside
from llava_operator.local_resources import LocalResources, open_job
from llava_operator.local_run import asked_to_leave, run_to_rest
from llava_operator.local_spec import job_folder, localised

__all__ = ["RunRequest", "add_arguments", "execute", "run_job"]

_LOG_TAIL_LINES = 60


@dataclass(frozen=True)
class RunRequest:
    """What the command line asked for."""

    file: Path
    folder: Path | None
    is_new: bool = False
    is_debug: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", type=Path, metavar="FILE.yaml", help="a LlavaTrainJob or a LlavaEvalJob")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="keep everything there instead of spec.storage.uri")
    parser.add_argument("--new", action="store_true", help="start over where DIR holds a job already")


def execute(args: argparse.Namespace) -> int:
    """Run the job until it is over."""
    return run_job(RunRequest(args.file, args.dir, is_new=args.new, is_debug=args.debug))


def run_job(request: RunRequest, *, command: Sequence[str] = LAUNCH) -> int:
    """Run or continue a job: 0 when it succeeded, else JobFailed or Interrupted. `command` runs a run.json."""
    job = load_job(request.file)
    spec = effective_spec(localised(job.spec, base=request.file.parent, folder=request.folder))
    folder = job_folder(spec.storage.uri)
    spec = with_model_beside(spec, folder)
    with (
        choose_view() as view,
        Bell() as bell,
        open_job(folder, spec, name=job.name, is_new=request.is_new, tell=view.tell) as resources,
    ):
        backend = LocalBackend(folder, command=command, on_exit=bell.ring)
        if resources.status.phase is Phase.SUCCEEDED:
            view.say(f"{job.name} is done already in {folder}; add --new to start over.")
        came = _drive(resources, backend, bell=bell, view=view)
        _write_report(folder, storage_target(spec.storage), view)
        view.finish(resources.status, summarise(resources.status, folder))
        return _conclude(resources.status, backend, request=request, view=view, came=came)


def _drive(resources: LocalResources, backend: LocalBackend, *, bell: Bell, view: RunView) -> int | None:
    """Run the job to its rest and give the signal that ended it early; an error of ours stops the attempt too."""

    def leave() -> None:
        resources.hold()
        bell.ring()

    def leave_at_once() -> None:
        backend.end_grace()
        bell.ring()

    with asked_to_leave(leave, leave_at_once) as came:
        try:
            run_to_rest(resources, backend, bell=bell, show=view.show)
        except BaseException:
            backend.stop_all()
            raise
    return came[0] if came else None


def _write_report(folder: Path, target: StorageTarget, view: RunView) -> None:
    """Write the page anew, however far the job came: only now are the last stage's seconds known."""
    try:
        # Not at the top: validating and refusing a job need no template engine.
        from llava_trainer.report.collect import collect  # noqa: PLC0415
        from llava_trainer.report.page import write_report  # noqa: PLC0415
        from llava_trainer.storage import open_storage  # noqa: PLC0415

        storage = open_storage(target)
        if target.uri.startswith("s3://"):  # only this machine knows of the job so far
            storage.write("job.json", (folder / "job.json").read_bytes())
        write_report(storage, collect(storage))
    except Exception as error:  # noqa: BLE001  a report that fails must not change how the job ended
        view.say(f"the report could not be written: {error}")


def _conclude(status: JobStatus, backend: LocalBackend, *, request: RunRequest, view: RunView, came: int | None) -> int:
    stage = status.stage(status.current_stage)
    if status.phase is Phase.SUCCEEDED:
        return causes.SUCCEEDED.exit_code
    if status.phase is Phase.FAILED:
        if stage is not None and stage.job_name is not None:
            _point_to_log(backend.log(stage.job_name), view, is_debug=request.is_debug)
        raise _failure(status)
    if came is not None:
        raise Interrupted(
            f"stopped {_where(stage)}; run the same command again to go on.", cause=causes.by_exit_code(128 + came)
        )
    view.say(f"suspended {_where(stage)}: set runPolicy.suspend to false and run the same command again to go on.")
    return causes.SUCCEEDED.exit_code


def _point_to_log(log: Path, view: RunView, *, is_debug: bool) -> None:
    if not log.exists():
        return
    if is_debug:
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]:
            view.say(line)
    view.say(f"log: {log}")


def _failure(status: JobStatus) -> JobFailed:
    failed = find_condition(status.conditions, ConditionType.FAILED)
    assert failed is not None, "a failed job has a condition that says why"
    cause = next((cause for cause in causes.CAUSES if cause.reason == failed.reason), causes.UNEXPECTED)
    return JobFailed(failed.message, cause=cause)


def _where(stage: StageStatus | None) -> str:
    if stage is None:
        return "before the first stage"
    if stage.checkpoint is None:
        return f"in {stage.name}"
    return f"in {stage.name}, whose newest checkpoint is of step {stage.checkpoint.step}"
