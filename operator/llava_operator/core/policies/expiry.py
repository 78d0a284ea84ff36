"""A job may be active for so long and no longer; time in suspension does not count."""

from __future__ import annotations

from datetime import datetime, timedelta

from llava_contract import causes
from llava_contract.conditions import ConditionType
from llava_contract.v1alpha1.status import JobStatus
from llava_operator.core.conditions import find_condition
from llava_operator.core.decision import Decision, Fail, Situation

__all__ = ["expire", "expires_at"]


def expire(situation: Situation) -> Decision | None:
    """Fail a job that has been active past its deadline."""
    until, limit_s = expires_at(situation), situation.plan.active_deadline_s
    if until is None or situation.now < until:
        return None
    message = f"active for more than {limit_s} s (runPolicy.activeDeadlineSeconds). {causes.DEADLINE.advice}"
    return Fail(causes.DEADLINE, message, child=situation.wanted_child)


def expires_at(situation: Situation) -> datetime | None:
    """Say until when the job may be active; None without a deadline or before its start."""
    began, limit_s = _active_since(situation.status), situation.plan.active_deadline_s
    return None if began is None or limit_s is None else began + timedelta(seconds=limit_s)


def _active_since(status: JobStatus) -> datetime | None:
    """Say when the job started or was last resumed."""
    suspended = find_condition(status.conditions, ConditionType.SUSPENDED)
    if status.start_time is None or suspended is None:
        return status.start_time
    return max(status.start_time, suspended.last_transition_time)
