"""The way forward: the next attempt of the first stage that is not done, or success."""

from __future__ import annotations

from llava_contract.v1alpha1.status import StageState
from llava_operator.core.decision import Decision, Situation, StartAttempt, Succeed
from llava_operator.core.naming import child_name

__all__ = ["start_next"]


def start_next(situation: Situation) -> Decision:
    """Start the attempt that status names already, else the next one."""
    planned, stage, plan = situation.stage_plan, situation.stage, situation.plan
    if planned is None or stage is None:
        return Succeed()
    is_named = stage.state is StageState.STARTING
    attempt = stage.attempt if is_named else stage.attempt + 1
    return StartAttempt(planned, attempt, child_name(plan.name, plan.uid, stage=planned.stage, attempt=attempt))
