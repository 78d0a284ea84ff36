"""The story of a job, one step at a time: observe, plan, decide, write the intent, act, tell.

Everything follows from what exists now; a process that dies between any two lines is continued by the next call.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from llava_operator.backends.base import Attempt, Backend
from llava_operator.core.decide import decide
from llava_operator.core.decision import (
    Decision,
    Fail,
    FinishStage,
    Rest,
    RestartStage,
    Situation,
    StartAttempt,
    StopAttempt,
    Succeed,
    Suspend,
    Wait,
)  # fmt: skip
from llava_operator.core.events import event_of
from llava_operator.core.job import Job, Key
from llava_operator.core.plan import plan_job
from llava_operator.core.runfile import run_config
from llava_operator.core.status import applied, latched
from llava_operator.errors import OperatorError
from llava_operator.resources import Resources

__all__ = ["reconcile"]


def reconcile(key: Key, resources: Resources, *, backend: Backend, now: datetime) -> Decision:
    """Bring the job one decision further and say which; Wait and Rest mean that there is nothing to do at once."""
    step = _foresee(key, resources, backend=backend, now=now)
    # What is remembered is good enough to wait on, and never to act on, unless the API server judges by itself.
    if step is not None and _is_act(step.decision) and not _is_first(step) and resources.renew(key):
        step = _foresee(key, resources, backend=backend, now=now)
    if step is None:
        return Rest()
    plan = plan_job(step.job)
    if isinstance(step.decision, StartAttempt) and plan.digest not in _digests(step.job):
        # Nothing is named before it is known that the pods of every stage would be taken.
        backend.admit(_attempt(step.decision, step.intended), plan)
    if step.intended.status != step.job.status:
        resources.patch_status(step.job, step.intended.status)
    try:
        _act(step.decision, step.intended, backend)
    except OperatorError:
        # What is written is true and is not decided again, so it is told now; a start is decided until it is done.
        if not isinstance(step.decision, StartAttempt):
            _tell(step, resources)
        raise
    _tell(step, resources)
    return step.decision


@dataclass(frozen=True)
class _Step:
    """What is decided about a job, and the job as it shall be written."""

    job: Job
    decision: Decision
    intended: Job


def _foresee(key: Key, resources: Resources, *, backend: Backend, now: datetime) -> _Step | None:
    job = resources.get(key)
    if job is None:
        return None
    observed, plan = backend.observe(job), plan_job(job)
    seen = latched(job.status, plan, observed=observed, now=now)
    decision = decide(Situation(plan, seen, observed, now))
    return _Step(job, decision, replace(job, status=applied(seen, decision, plan=plan, now=now)))


def _tell(step: _Step, resources: Resources) -> None:
    if event := event_of(step.decision, step.job.status):
        resources.emit(step.job, event)


def _is_act(decision: Decision) -> bool:
    """Whether attempts are started or ended; a success is told by what does not become untrue."""
    return isinstance(decision, StartAttempt | StopAttempt | RestartStage | Suspend | Fail)


def _is_first(step: _Step) -> bool:
    """Whether the first attempt of all is to be named: it is written first, into the very version that names none.

    Who names an attempt before making it has made none before: if that patch is taken, nothing of the job exists.
    """
    return isinstance(step.decision, StartAttempt) and not any(stage.job_name for stage in step.job.status.stages)


def _act(decision: Decision, job: Job, backend: Backend) -> None:
    match decision:
        case StartAttempt():
            backend.start(_attempt(decision, job))
        case RestartStage(child=child) | StopAttempt(child=child):
            backend.stop(child)
        case Suspend(child=child) | Fail(child=child):
            if child is not None:
                backend.stop(child)
        case FinishStage() | Succeed() | Wait() | Rest():
            pass
        case _:
            assert_never(decision)


def _attempt(decision: StartAttempt, job: Job) -> Attempt:
    return Attempt(decision.child, decision.stage, run_config(job, decision.stage))


def _digests(job: Job) -> set[str | None]:
    """Give the digests of the specs that attempts were made from, and that were admitted before."""
    return {stage.spec_digest for stage in job.status.stages}
