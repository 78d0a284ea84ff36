"""What an attempt's failure leads to: a restart by the cause's own rule, or the end of the job."""

from __future__ import annotations

from typing import assert_never

from llava_contract.causes import INCOMPLETE, INFRASTRUCTURE, LOST, Cause, Retry, by_exit_code
from llava_contract.v1alpha1.status import AttemptRecord, StageState, StageStatus
from llava_operator.core.decision import Decision, Fail, RestartStage, Situation
from llava_operator.core.observe import AttemptState, ObservedAttempt

__all__ = ["answer_failure", "restart_or_fail"]

_MAX_ROLLBACKS = 2
_MAX_CONFIRMATIONS = 1
_MAX_WITHOUT_PROGRESS = 3


def restart_or_fail(situation: Situation) -> Decision | None:
    """Answer for a wanted attempt that failed, or that ran and is gone."""
    stage, attempt = situation.stage, situation.attempt
    if stage is None or situation.wanted_child is None:
        return None
    if attempt is None and stage.state is StageState.RUNNING:
        return answer_failure(situation, LOST, message="The attempt is gone and left no evidence.")
    if attempt is not None and attempt.state is AttemptState.FAILED:
        assert attempt.exit_code is not None, f"{attempt.child} failed without an exit code"
        cause = by_exit_code(attempt.exit_code)
        if cause is INFRASTRUCTURE and stage.waiting is not None:
            # It waited in vain for pods that could not start.
            cause = INCOMPLETE
        return answer_failure(situation, cause, message=_sentence(attempt))
    return None


def answer_failure(situation: Situation, cause: Cause, *, message: str) -> RestartStage | Fail:
    """Restart or fail the current stage after this cause; `message` is what the attempt said."""
    stage, child = situation.stage, situation.wanted_child
    assert stage is not None, "no stage can fail when all are done"
    assert child is not None, f"{stage.name} has no attempt that could fail"
    record = AttemptRecord(
        attempt=stage.attempt,
        exit_code=cause.exit_code,
        reason=cause.reason,
        message=message,
        checkpoint_step=stage.checkpoint.step if stage.checkpoint else None,
        charged=cause.retry is Retry.COUNTED,
    )
    surrender = _exhausted(situation, stage, cause)
    surrender = _stuck(stage, record) if surrender is None else surrender
    if surrender is None:
        planned = situation.stage_plan
        assert planned is not None, f"{stage.name} is not in the plan"
        return RestartStage(planned.stage, child, record)
    # Sentences about wrong input say what to do themselves; the others tell what happened.
    advice = "" if cause.retry is Retry.NEVER or cause.advice in message else cause.advice
    told = " ".join(part for part in (f"{stage.name} failed: {message}", surrender, advice) if part)
    doomed = None if _has_ended(situation.attempt) else child
    return Fail(cause, told, child=doomed, failed=record.model_copy(update={"charged": False}))


def _has_ended(attempt: ObservedAttempt | None) -> bool:
    """Say whether the attempt ended by itself and left evidence: its pods are worth keeping for their logs."""
    return attempt is not None and attempt.state is AttemptState.FAILED and attempt.exit_code != LOST.exit_code


def _exhausted(situation: Situation, stage: StageStatus, cause: Cause) -> str | None:
    """Say why the cause's own rule allows no restart; empty when the cause itself says it, None when it allows one."""
    num_before = sum(record.reason == cause.reason for record in stage.history)
    match cause.retry:
        case Retry.NEVER:
            return ""
        case Retry.FREE:
            return None
        case Retry.COUNTED:
            limit = situation.plan.max_restarts
            is_spent = situation.status.budget_used >= limit
            return f"The budget of {limit} restarts (runPolicy.maxRestarts) is used up." if is_spent else None
        case Retry.CONFIRM:
            return "It happened again after a restart." if num_before >= _MAX_CONFIRMATIONS else None
        case Retry.ROLLBACK:
            return f"{num_before} earlier checkpoints did not help." if num_before >= _MAX_ROLLBACKS else None
        case _:
            assert_never(cause.retry)


def _stuck(stage: StageStatus, record: AttemptRecord) -> str | None:
    """Say so when three attempts in a row ended at one checkpoint; preemptions say nothing about the job."""
    judged = [past for past in (*stage.history, record) if by_exit_code(past.exit_code).retry is not Retry.FREE]
    recent = judged[-_MAX_WITHOUT_PROGRESS:]
    is_stuck = len(recent) == _MAX_WITHOUT_PROGRESS and len({past.checkpoint_step for past in recent}) == 1
    return f"{_MAX_WITHOUT_PROGRESS} attempts in a row made no progress." if is_stuck else None


def _sentence(attempt: ObservedAttempt) -> str:
    """Take the attempt's own sentence where it left one for this ending."""
    result = attempt.result
    if result and result.message and result.exit_code == attempt.exit_code:
        return result.message
    assert attempt.exit_code is not None, f"{attempt.child} failed without an exit code"
    if attempt.exit_code == LOST.exit_code:
        return "A member of the gang is gone and left no evidence."
    advice = by_exit_code(attempt.exit_code).advice
    return f"The process ended with exit code {attempt.exit_code} and left no message. {advice}"
