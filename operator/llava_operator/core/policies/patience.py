"""When waiting is right: for an attempt that runs, and before another try at what just failed."""

from __future__ import annotations

from datetime import timedelta
from itertools import takewhile

from llava_contract.conditions import ConditionType
from llava_contract.v1alpha1.status import StageState, StageStatus
from llava_operator.core.conditions import find_condition
from llava_operator.core.decision import Decision, Situation, Wait
from llava_operator.core.observe import AttemptState
from llava_operator.core.waiting import news_at

__all__ = ["back_off", "wait_for_attempt"]

_FIRST_DELAY_S = 10
_MAX_DELAY_S = 300


def wait_for_attempt(situation: Situation) -> Decision | None:
    """Let a wanted attempt run, or come to run."""
    attempt, stage = situation.attempt, situation.stage
    if attempt is None or stage is None or situation.wanted_child is None:
        return None
    is_alive = attempt.state in (AttemptState.PENDING, AttemptState.RUNNING)
    return Wait(news_at(stage.waiting, attempt.waiting)) if is_alive else None


def back_off(situation: Situation) -> Decision | None:
    """Wait before another restart of a stage that gets nowhere: 0, 10, 20, 40 ... at most 300 s after the failure."""
    stage = situation.stage
    failed = find_condition(situation.status.conditions, ConditionType.RESTARTING)
    if stage is None or failed is None or stage.state is not StageState.RESTARTING:
        return None
    until = failed.last_transition_time + timedelta(seconds=_delay_s(stage))
    return Wait(until) if situation.now < until else None


def _delay_s(stage: StageStatus) -> int:
    """Count the latest attempts that ended at one checkpoint: the first restart costs no wait, each more doubles it."""
    last = stage.history[-1]
    num_vain = sum(1 for _ in takewhile(lambda r: r.checkpoint_step == last.checkpoint_step, reversed(stage.history)))
    return 0 if num_vain == 1 else min(_MAX_DELAY_S, _FIRST_DELAY_S << (num_vain - 2))
