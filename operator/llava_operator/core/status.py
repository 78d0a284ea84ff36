"""How a status changes: what was observed is latched into it, and a decision is written as intent before anyone acts.

Pure transitions JobStatus -> JobStatus; equal in, equal out, so that "did it change?" is a comparison.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_never

from llava_contract.causes import Retry, by_exit_code
from llava_contract.result import Progress
from llava_contract.v1alpha1.status import (
    MAX_HISTORY,
    AttemptRecord,
    JobStatus,
    Phase,
    ProgressStatus,
    StageState,
    StageStatus,
)
from llava_operator.core.conditions import Claim, ConditionType, with_claims
from llava_operator.core.decision import (
    Decision,
    Fail,
    FinishStage,
    Rest,
    RestartStage,
    StartAttempt,
    StopAttempt,
    Succeed,
    Suspend,
    Wait,
)  # fmt: skip
from llava_operator.core.forecast import duration_text
from llava_operator.core.observe import AttemptState, Observed, ObservedAttempt
from llava_operator.core.plan import Plan

__all__ = ["applied", "latched", "reopened"]


def latched(status: JobStatus, plan: Plan, *, observed: Observed, now: datetime) -> JobStatus:
    """Write down what was seen: every planned stage, commits of the attempts, and the progress of a running one."""
    known = {stage.name: stage for stage in status.stages}
    stages = [known.get(planned.stage) or StageStatus(name=planned.stage) for planned in plan.stages]
    stages = [_with_commit(stage, observed.child(stage.job_name)) for stage in stages]
    status = status.model_copy(update={"stages": stages, "observed_generation": plan.generation})
    for stage in status.stages:
        attempt = observed.child(stage.job_name)
        if attempt and stage.state.is_active and attempt.state is AttemptState.RUNNING:
            return _running(status, attempt, generation=plan.generation, now=now)
        if attempt and stage.state.is_active and attempt.state is AttemptState.PENDING:
            return _pending(status, attempt, generation=plan.generation, now=now)
    return status


def applied(status: JobStatus, decision: Decision, *, plan: Plan, now: datetime) -> JobStatus:
    """Write a decision down; decisions that are not about status leave it as it is."""
    match decision:
        case StartAttempt():
            after = _started(status, decision, now)
        case RestartStage():
            after = _restarted(status, decision)
        case FinishStage():
            after = _finished(status, decision, plan=plan, now=now)
        case Suspend():
            after = _suspended(status)
        case Succeed():
            after = status.model_copy(update={"phase": Phase.SUCCEEDED, "completion_time": now, "progress": None})
        case Fail():
            after = _failed(status, decision, now)
        case StopAttempt() | Wait() | Rest():
            return status
        case _:
            assert_never(decision)
    conditions = with_claims(after.conditions, _claims(decision), generation=plan.generation, now=now)
    return after.model_copy(update={"conditions": conditions})


def reopened(status: JobStatus) -> JobStatus:
    """Let a failed job go on because its owner asked for it: fresh budget, fresh history, the next attempt number."""
    for stage in status.stages:
        if stage.state is StageState.FAILED:
            status = _with_stage(
                status, stage.name, state=StageState.WAITING, history=[], message="", completion_time=None
            )
    return status.model_copy(
        update={"phase": Phase.PENDING, "budget_used": 0, "start_time": None, "completion_time": None}
    )


def _with_commit(stage: StageStatus, attempt: ObservedAttempt | None) -> StageStatus:
    """Take over the commit that the stage's own attempt tells of, until that attempt is history."""
    is_over = stage.state is StageState.SUCCEEDED or (attempt and attempt.attempt in {r.attempt for r in stage.history})
    if attempt is None or attempt.checkpoint is None or is_over:
        return stage
    return stage.model_copy(update={"checkpoint": attempt.checkpoint})


def _pending(status: JobStatus, attempt: ObservedAttempt, *, generation: int, now: datetime) -> JobStatus:
    """Say what an attempt waits for; one that waits for nothing in particular changes nothing."""
    waiting = attempt.waiting
    if waiting is None:
        return status
    claim = Claim(ConditionType.PENDING, True, waiting.reason, waiting.message)
    conditions = with_claims(status.conditions, [claim], generation=generation, now=now)
    status = status.model_copy(update={"phase": Phase.PENDING, "conditions": conditions})
    return _with_stage(status, attempt.stage, message=f"{waiting.reason}: {waiting.message}")


def _running(status: JobStatus, attempt: ObservedAttempt, *, generation: int, now: datetime) -> JobStatus:
    what = f"{attempt.stage} attempt {attempt.attempt} is running"
    claims = [
        Claim(ConditionType.RUNNING, True, "AttemptRunning", what),
        Claim(ConditionType.PENDING, False, "AttemptRunning", what),
    ]
    stage = _stage(status, attempt.stage)
    # Whatever it waited for is there; what a failed attempt said stays until the stage ends.
    message = "" if stage.state is StageState.STARTING and status.phase is Phase.PENDING else stage.message
    return _with_stage(
        status.model_copy(
            update={
                "phase": Phase.RUNNING,
                "progress": _progress(attempt.progress) or status.progress,
                "conditions": with_claims(status.conditions, claims, generation=generation, now=now),
            }
        ),
        attempt.stage,
        state=StageState.RUNNING,
        message=message,
        pods=stage.pods or list(attempt.gang),
    )


def _progress(progress: Progress | None) -> ProgressStatus | None:
    if progress is None:
        return None
    return ProgressStatus(
        summary=f"{progress.step}/{progress.total_steps}",
        step=progress.step,
        total_steps=progress.total_steps,
        loss=progress.loss,
        samples_per_second=progress.samples_per_second,
        eta=None if progress.eta_seconds is None else duration_text(progress.eta_seconds),
    )


def _started(status: JobStatus, decision: StartAttempt, now: datetime) -> JobStatus:
    """Name the attempt before it exists."""
    stage = _stage(status, decision.stage.stage)
    status = _with_stage(
        status,
        stage.name,
        state=stage.state if stage.job_name == decision.child else StageState.STARTING,
        attempt=decision.attempt,
        restarts=decision.attempt - 1,
        job_name=decision.child,
        start_time=stage.start_time or now,
        pods=stage.pods if stage.job_name == decision.child else [],
    )
    return status.model_copy(
        update={
            "phase": Phase.PENDING if status.phase is Phase.SUSPENDED else status.phase,
            "current_stage": stage.name,
            "restarts": sum(stage.restarts for stage in status.stages),
            "start_time": status.start_time or now,
            "progress": status.progress if stage.job_name == decision.child else None,
        }
    )


def _restarted(status: JobStatus, decision: RestartStage) -> JobStatus:
    failed = decision.failed
    status = _with_failure(status, decision.stage, failed, state=StageState.RESTARTING)
    if by_exit_code(failed.exit_code).retry is Retry.ROLLBACK:
        # The newest commit led to the failure: nobody vouches for it any more.
        status = _with_stage(status, decision.stage, checkpoint=None)
    budget_used = status.budget_used + failed.charged
    return status.model_copy(update={"phase": Phase.RESTARTING, "budget_used": budget_used, "progress": None})


def _failed(status: JobStatus, decision: Fail, now: datetime) -> JobStatus:
    stage = status.current_stage
    if stage is not None:
        status = _with_failure(status, stage, decision.failed, state=StageState.FAILED)
        status = _with_stage(status, stage, message=decision.message, completion_time=now)
    return status.model_copy(update={"phase": Phase.FAILED, "completion_time": now})


def _with_failure(status: JobStatus, name: str, failed: AttemptRecord | None, *, state: StageState) -> JobStatus:
    if failed is None:
        return _with_stage(status, name, state=state)
    history = [*_stage(status, name).history, failed][-MAX_HISTORY:]
    return _with_stage(status, name, state=state, message=failed.message, history=history)


def _finished(status: JobStatus, decision: FinishStage, *, plan: Plan, now: datetime) -> JobStatus:
    result = decision.result
    changes: dict[str, Any] = {"state": StageState.SUCCEEDED, "completion_time": now, "message": result.message}
    changes |= {"seconds": result.seconds, "checkpoint": result.checkpoint or _stage(status, decision.stage).checkpoint}
    status = _with_stage(status, decision.stage, **changes)
    results = {**status.results, **result.results}
    score = results.get(plan.gate.result) if plan.gate else None
    return status.model_copy(
        update={
            "artifacts": {**status.artifacts, **result.artifacts},
            "results": results,
            "score": status.score if score is None else f"{100 * score:.1f}",
            "progress": None,
        }
    )


def _suspended(status: JobStatus) -> JobStatus:
    """Leave the stage waiting, under the name of the attempt that is being stopped."""
    for stage in status.stages:
        if stage.state.is_active or stage.state is StageState.RESTARTING:
            status = _with_stage(status, stage.name, state=StageState.WAITING)
    return status.model_copy(update={"phase": Phase.SUSPENDED, "progress": None})


def _stage(status: JobStatus, name: str) -> StageStatus:
    stage = status.stage(name)
    assert stage is not None, f"{name} is not among {[known.name for known in status.stages]}"
    return stage


def _with_stage(status: JobStatus, name: str, **changes: Any) -> JobStatus:
    stages = [stage.model_copy(update=changes) if stage.name == name else stage for stage in status.stages]
    return status.model_copy(update={"stages": stages})


def _claims(decision: Decision) -> list[Claim]:
    match decision:
        case StartAttempt():
            return [
                Claim(ConditionType.RESTARTING, False, "AttemptStarted", f"attempt {decision.attempt} was started"),
                Claim(ConditionType.SUSPENDED, False, "Resumed", "the job goes on"),
                Claim(ConditionType.FAILED, False, "Reopened", "the job was asked to go on"),
            ]
        case RestartStage():
            failed = decision.failed
            return [
                Claim(ConditionType.RUNNING, False, failed.reason, failed.message),
                Claim(ConditionType.RESTARTING, True, failed.reason, failed.message),
            ]
        case Suspend():
            return _over(Claim(ConditionType.SUSPENDED, True, "Suspended", "runPolicy.suspend is true"))
        case Succeed():
            return _over(Claim(ConditionType.SUCCEEDED, True, "Succeeded", "all stages are done"))
        case Fail():
            return _over(Claim(ConditionType.FAILED, True, decision.cause.reason, decision.message))
        case _:
            return []


def _over(claim: Claim) -> list[Claim]:
    """Nothing runs and nothing restarts once this claim holds."""
    ended = [ConditionType.PENDING, ConditionType.RUNNING, ConditionType.RESTARTING]
    return [*(Claim(type_, False, claim.reason, claim.message) for type_ in ended), claim]
