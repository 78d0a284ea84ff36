"""When waiting is right: for an attempt that runs, before another try at what just failed, for another job's model."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import takewhile

from llava_contract import causes
from llava_contract.conditions import ConditionType
from llava_contract.v1alpha1.status import StageState, StageStatus
from llava_operator.core.conditions import find_condition
from llava_operator.core.decision import Decision, Situation, Wait
from llava_operator.core.observe import AttemptState
from llava_operator.core.policies.expiry import expires_at
from llava_operator.core.policies.incomplete import gives_back_at
from llava_operator.core.waiting import news_at

__all__ = ["back_off", "wait_for_attempt", "wait_for_model"]

_FIRST_DELAY_S = 10
_MAX_DELAY_S = 300
_FIRST_ROOM_DELAY_S = 60
_MAX_ROOM_DELAY_S = 1800
"""For a gang that gave its places back: others shall have the time to take them, and to finish."""
_SOON, _SELDOM = timedelta(seconds=3), timedelta(seconds=60)


def wait_for_attempt(situation: Situation) -> Decision | None:
    """Let a wanted attempt run, or come to run."""
    attempt, stage = situation.attempt, situation.stage
    if attempt is None or stage is None or situation.wanted_child is None:
        return None
    if attempt.state not in (AttemptState.PENDING, AttemptState.RUNNING):
        return None
    begins = gives_back_at(situation) or _listens_at(situation)
    times = (news_at(stage.waiting, attempt.waiting), begins, expires_at(situation))
    return Wait(min((time for time in times if time is not None), default=None))


def _listens_at(situation: Situation) -> datetime | None:
    """Say when to look again at an attempt that has not begun: after as long as it has waited, 3 to 60 s.

    A quota, or a volume that cannot be mounted, is told by Events alone, and those wake nobody.
    """
    attempt, stage, now = situation.attempt, situation.stage, situation.now
    if attempt is None or stage is None or attempt.state is not AttemptState.PENDING:
        return None
    words = (ConditionType.RESTARTING, ConditionType.SUSPENDED)
    changed = [find_condition(situation.status.conditions, word) for word in words]
    began = max([stage.start_time or now, *(one.last_transition_time for one in changed if one)])
    return now + min(max(now - began, _SOON), _SELDOM)


def back_off(situation: Situation) -> Decision | None:
    """Wait before another restart of a stage that gets nowhere: 0, 10, 20, 40 ... at most 300 s after the failure.

    A gang that gave its places back waits 60, 120, 240 ... at most 1800 s.
    """
    stage = situation.stage
    failed = find_condition(situation.status.conditions, ConditionType.RESTARTING)
    if stage is None or failed is None or stage.state is not StageState.RESTARTING:
        return None
    until = failed.last_transition_time + timedelta(seconds=_delay_s(stage))
    return Wait(until) if situation.now < until else None


def wait_for_model(situation: Situation) -> Decision | None:
    """Start nothing before there is the model that another job makes; whoever makes it wakes this one."""
    return Wait() if situation.plan.lacking and situation.stage_plan is not None else None


def _delay_s(stage: StageStatus) -> int:
    """Double the wait with each latest attempt that found no room, or that ended at one checkpoint."""
    is_incomplete = [record.reason == causes.INCOMPLETE.reason for record in reversed(stage.history)]
    if num_incomplete := sum(1 for _ in takewhile(bool, is_incomplete)):
        return min(_MAX_ROOM_DELAY_S, _FIRST_ROOM_DELAY_S << (num_incomplete - 1))
    if stage.history[-1].reason == causes.EDITED.reason:
        return 0
    never_began = (causes.INCOMPLETE.reason, causes.EDITED.reason)
    began = [record for record in reversed(stage.history) if record.reason not in never_began]
    num_vain = sum(1 for _ in takewhile(lambda record: record.checkpoint_step == began[0].checkpoint_step, began))
    return 0 if num_vain == 1 else min(_MAX_DELAY_S, _FIRST_DELAY_S << (num_vain - 2))
