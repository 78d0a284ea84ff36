"""How a status changes: what was observed is latched into it, and a decision is written as intent before anyone acts.

Pure transitions JobStatus -> JobStatus; equal in, equal out, so that "did it change?" is a comparison.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, assert_never

from llava_contract.causes import EDITED, Retry, by_exit_code
from llava_contract.conditions import ConditionType, Reason
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
from llava_operator.core.conditions import Word, conditions_of, find_condition
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
from llava_operator.core.observe import AttemptState, Observed, ObservedAttempt, Waiting
from llava_operator.core.plan import Plan
from llava_operator.core.waiting import is_fresh, still_waiting

__all__ = ["applied", "held_up", "latched", "reopened", "spec_refused"]

_OVER: Final = (Phase.SUCCEEDED, Phase.FAILED)
_AFTERWARDS: Final = " (The spec was edited afterwards, which changes nothing: create another job.)"
_MAX_RECORDED: Final = 512
_OF_NO_ATTEMPT: Final = (Reason.SPEC_REFUSED, Reason.SPEC_INCOMPLETE, Reason.REFUSED)
"""Why there is no attempt: nobody says so of one that exists."""


def latched(status: JobStatus, plan: Plan, *, observed: Observed, now: datetime) -> JobStatus:
    """Write down what was seen: every planned stage, commits of the attempts, and the progress of a running one."""
    status = _forgiven(status)
    words, more = [*_edited(status, plan.generation), *_mended(status)], list[Word]()
    stages = [_with_commit(stage, observed.child(stage.job_name)) for stage in _planned_stages(status, plan)]
    current = status.current_stage if any(stage.name == status.current_stage for stage in stages) else None
    model = plan.model if status.phase not in _OVER else status.model
    status = status.model_copy(update={"stages": stages, "current_stage": current, "model": model})
    for stage in stages:
        attempt = observed.child(stage.job_name)
        if attempt and stage.state.is_active and attempt.state is AttemptState.RUNNING:
            status, more = _running(status, attempt)
            break
        if attempt and stage.state.is_active and attempt.state is AttemptState.PENDING:
            status, more = _pending(status, attempt, now)
            break
    else:
        if plan.lacking and not plan.suspend and status.phase not in _OVER:
            status, more = _lacking(status, plan.lacking)
    return _told(status, [*words, *more], generation=plan.generation, now=now)


def applied(status: JobStatus, decision: Decision, *, plan: Plan, now: datetime) -> JobStatus:
    """Write a decision down; decisions that are not about status leave it as it is."""
    match decision:
        case StartAttempt():
            after = _started(status, decision, plan=plan, now=now)
        case RestartStage():
            after = _restarted(status, decision)
        case FinishStage():
            after = _finished(status, decision, plan=plan, now=now)
        case Suspend():
            after = _suspended(status)
        case Succeed():
            after = status.model_copy(update={"phase": Phase.SUCCEEDED, "completion_time": now})
        case Fail():
            after = _failed(status, decision, now)
        case StopAttempt() | Wait() | Rest():
            return status
        case _:
            assert_never(decision)
    return _told(after, _words(status, decision), generation=plan.generation, now=now)


def held_up(status: JobStatus, word: Word, *, generation: int, now: datetime) -> JobStatus:
    """Say what keeps the next step from being taken; what runs goes on."""
    status = _forgiven(status)
    phase = Phase.PENDING if status.phase is Phase.RESTARTING else status.phase
    return _told(status.model_copy(update={"phase": phase}), [word], generation=generation, now=now)


def spec_refused(status: JobStatus, why: str, *, generation: int, now: datetime) -> JobStatus:
    """Fail a job for its spec until that is mended; an attempt that runs is left alone and no longer looked at."""
    words = [Word(type_, Reason.SPEC_REFUSED, why) for type_ in (ConditionType.READY, ConditionType.FAILED)]
    if status.phase in _OVER and not _is_spec_refused(status):
        words = _edited(status, generation)
    elif any(stage.state.is_active for stage in status.stages):
        status = status.model_copy(update={"progress": None})
    else:
        status = status.model_copy(update={"phase": Phase.FAILED})
    return _told(status, words, generation=generation, now=now)


def _forgiven(status: JobStatus) -> JobStatus:
    """Let a job go on whose spec was refused and is valid now."""
    return status.model_copy(update={"phase": Phase.PENDING}) if _is_spec_refused(status) else status


def _is_spec_refused(status: JobStatus) -> bool:
    failed = find_condition(status.conditions, ConditionType.FAILED)
    return status.phase is Phase.FAILED and failed is not None and failed.reason == Reason.SPEC_REFUSED


def _mended(status: JobStatus) -> list[Word]:
    """Take back what was said of a spec that is valid now."""
    failed = find_condition(status.conditions, ConditionType.FAILED)
    is_stale = failed is not None and failed.reason == Reason.SPEC_REFUSED and status.phase is not Phase.FAILED
    return [Word(ConditionType.FAILED, Reason.GOES_ON, "the job goes on")] if is_stale else []


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


def _planned_stages(status: JobStatus, plan: Plan) -> list[StageStatus]:
    """Take the stages from the spec as it is now; a job that is over keeps those that it had."""
    if status.phase in _OVER and status.stages:
        return status.stages
    stages = [status.stage(planned.stage) or StageStatus(name=planned.stage) for planned in plan.stages]
    undone = next((stage for stage in stages if stage.state is not StageState.SUCCEEDED), None)
    return [
        # A stage that was at work waits again if the spec now asks for an earlier one first.
        stage.model_copy(update={"state": StageState.WAITING}) if _is_at_work(stage) and stage is not undone else stage
        for stage in stages
    ]


def _is_at_work(stage: StageStatus) -> bool:
    return stage.state.is_active or stage.state is StageState.RESTARTING


def _edited(status: JobStatus, generation: int) -> list[Word]:
    """Say of a job that is over and was edited afterwards that the edit changes nothing."""
    ready = find_condition(status.conditions, ConditionType.READY)
    if ready is None or status.phase not in _OVER or status.observed_generation == generation:
        return []
    return [Word(ConditionType.READY, ready.reason, ready.message.removesuffix(_AFTERWARDS) + _AFTERWARDS)]


def _pending(status: JobStatus, attempt: ObservedAttempt, now: datetime) -> tuple[JobStatus, list[Word]]:
    """Say what an attempt waits for; one that waits for nothing in particular is starting, after a moment."""
    if status.phase is Phase.RUNNING:
        status = status.model_copy(update={"phase": Phase.PENDING})
    if attempt.is_released:
        status = _with_stage(status, attempt.stage, state=StageState.STARTING, pods=[])
    waiting, what = attempt.waiting, f"{attempt.stage} attempt {attempt.attempt}"
    before = _stage(status, attempt.stage).waiting
    if waiting is None:
        ready = find_condition(status.conditions, ConditionType.READY)
        is_over = before is not None and not is_fresh(before, now)
        if is_over:
            status = _with_stage(status, attempt.stage, waiting=None, message="")
        is_stale = is_over or ready is None or ready.reason in _OF_NO_ATTEMPT
        return status, [Word(ConditionType.READY, Reason.STARTING, f"{what} is starting")] if is_stale else []
    told = still_waiting(before, waiting, is_holding=attempt.num_placed > 0, now=now)
    status = _with_stage(status, attempt.stage, message=f"{told.reason}: {told.message}", waiting=told)
    word = Word(ConditionType.READY, told.reason, f"{what} waits: {told.message}")
    return status.model_copy(update={"phase": Phase.PENDING}), [word]


def _lacking(status: JobStatus, lacking: Waiting) -> tuple[JobStatus, list[Word]]:
    """Say what has to be there before anything is started."""
    status = status.model_copy(update={"phase": Phase.PENDING})
    return status, [Word(ConditionType.READY, lacking.reason, lacking.message)]


def _running(status: JobStatus, attempt: ObservedAttempt) -> tuple[JobStatus, list[Word]]:
    stage = _stage(status, attempt.stage)
    # Whatever it waited for is there; what a failed attempt said stays until the stage ends.
    message = "" if stage.state is StageState.STARTING and status.phase is Phase.PENDING else stage.message
    # What is not known any more is not shown; a fresh operator that has not asked yet keeps what is there.
    progress = None if attempt.unheard else _progress(attempt.progress) or status.progress
    status = status.model_copy(update={"phase": Phase.RUNNING, "progress": progress})
    pods = stage.pods or list(attempt.gang)
    status = _with_stage(status, attempt.stage, state=StageState.RUNNING, message=message, pods=pods)
    unheard = f"; its progress is unknown: {attempt.unheard}" if attempt.unheard else ""
    what = f"{attempt.stage} attempt {attempt.attempt} is running{unheard}"
    return status, [Word(ConditionType.READY, Reason.RUNNING, what)]


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


def _started(status: JobStatus, decision: StartAttempt, *, plan: Plan, now: datetime) -> JobStatus:
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
        spec_digest=plan.digest,
        pods=stage.pods if stage.job_name == decision.child else [],
    )
    return status.model_copy(
        update={
            "phase": Phase.RESTARTING if status.phase is Phase.RESTARTING else Phase.PENDING,
            "current_stage": stage.name,
            "restarts": sum(stage.restarts for stage in status.stages),
            "start_time": status.start_time or now,
        }
    )


def _restarted(status: JobStatus, decision: RestartStage) -> JobStatus:
    failed = decision.failed
    status = _with_failure(status, decision.stage, failed, state=StageState.RESTARTING)
    if by_exit_code(failed.exit_code).retry is Retry.ROLLBACK:
        # The newest commit led to the failure: nobody vouches for it any more.
        status = _with_stage(status, decision.stage, checkpoint=None)
    budget_used = status.budget_used + failed.charged
    return status.model_copy(update={"phase": Phase.RESTARTING, "budget_used": budget_used})


def _failed(status: JobStatus, decision: Fail, now: datetime) -> JobStatus:
    stage = status.current_stage
    if stage is not None:
        status = _with_failure(status, stage, decision.failed, state=StageState.FAILED)
        status = _with_stage(status, stage, message=decision.message, completion_time=now)
    return status.model_copy(update={"phase": Phase.FAILED, "completion_time": now})


def _with_failure(status: JobStatus, name: str, failed: AttemptRecord | None, *, state: StageState) -> JobStatus:
    if failed is None:
        return _with_stage(status, name, state=state)
    record = failed.model_copy(update={"message": _shortened(failed.message)})
    history = [*_stage(status, name).history, record][-MAX_HISTORY:]
    return _with_stage(status, name, state=state, message=failed.message, history=history)


def _shortened(message: str) -> str:
    """Keep the gist: with all that every attempt of every stage may say, a status would not fit into an API server."""
    return message if len(message) <= _MAX_RECORDED else message[: _MAX_RECORDED - 1] + "…"


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
        }
    )


def _suspended(status: JobStatus) -> JobStatus:
    """Leave the stage waiting, under the name of the attempt that is being stopped."""
    for stage in status.stages:
        if _is_at_work(stage):
            status = _with_stage(status, stage.name, state=StageState.WAITING)
    return status.model_copy(update={"phase": Phase.SUSPENDED})


def _stage(status: JobStatus, name: str) -> StageStatus:
    stage = status.stage(name)
    assert stage is not None, f"{name} is not among {[known.name for known in status.stages]}"
    return stage


def _with_stage(status: JobStatus, name: str, **changes: Any) -> JobStatus:
    stages = [stage.model_copy(update=changes) if stage.name == name else stage for stage in status.stages]
    return status.model_copy(update={"stages": stages})


def _words(status: JobStatus, decision: Decision) -> list[Word]:
    """Say what a decision means; `status` is what it was made from."""
    words: list[Word] = []
    match decision:
        case StartAttempt(stage=planned, attempt=attempt, child=child):
            # An attempt that was named before was told of, and so was what kept it from starting.
            if _stage(status, planned.stage).job_name != child:
                words = [Word(ConditionType.READY, Reason.STARTING, f"{planned.stage} attempt {attempt} is starting")]
        case RestartStage(stage=stage, failed=failed):
            became = "is made anew" if failed.reason == EDITED.reason else "failed"
            told = f"{stage} attempt {failed.attempt} {became}: {failed.message}"
            words = [Word(type_, failed.reason, told) for type_ in (ConditionType.READY, ConditionType.RESTARTING)]
        case FinishStage(stage=stage):
            words = [Word(ConditionType.READY, Reason.STAGE_SUCCEEDED, f"{stage} is done")]
        case Suspend():
            told = "runPolicy.suspend is true"
            words = [Word(type_, Reason.SUSPENDED, told) for type_ in (ConditionType.READY, ConditionType.SUSPENDED)]
        case Succeed():
            words = [Word(ConditionType.READY, Reason.SUCCEEDED, "all stages are done")]
        case Fail(cause=cause, message=message):
            words = [Word(type_, cause.reason, message) for type_ in (ConditionType.READY, ConditionType.FAILED)]
        case StopAttempt() | Wait() | Rest():
            pass
        case _:
            assert_never(decision)
    return words


def _told(status: JobStatus, words: list[Word], *, generation: int, now: datetime) -> JobStatus:
    """Let conditions say how things stand; progress is a running attempt's, waiting a starting one's, or nobody's."""
    stages = [
        stage if stage.state is StageState.STARTING else stage.model_copy(update={"waiting": None})
        for stage in status.stages
    ]
    return status.model_copy(
        update={
            "stages": stages,
            "observed_generation": generation,
            "progress": status.progress if _makes_progress(status) else None,
            "conditions": conditions_of(status, words, generation=generation, now=now),
        }
    )


def _makes_progress(status: JobStatus) -> bool:
    stage = status.stage(status.current_stage)
    return status.phase is Phase.RUNNING and stage is not None and stage.state is StageState.RUNNING
