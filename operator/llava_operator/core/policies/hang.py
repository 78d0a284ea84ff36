"""A training attempt whose progress stands still is hung; one whose progress cannot be read is left alone.

Only the observer's own clock counts: the clock of a pod may be off by more than any timeout.
"""

from __future__ import annotations

from datetime import timedelta

from llava_contract import causes
from llava_operator.core.decision import Decision, Situation
from llava_operator.core.observe import AttemptState
from llava_operator.core.policies.failure import answer_failure

__all__ = ["restart_hung"]

_MARGIN_S = 60
"""Each rank watches itself with the same timeout and leaves its stacks; it shall be first."""


def restart_hung(situation: Situation) -> Decision | None:
    """Answer for a wanted attempt that told of no step for longer than the hang timeout."""
    attempt, planned = situation.attempt, situation.stage_plan
    if situation.wanted_child is None or attempt is None or planned is None or not planned.is_training:
        return None
    if attempt.state is not AttemptState.RUNNING or attempt.progress is None or attempt.moved_at is None:
        return None
    timeout_s = situation.plan.hang_timeout_s
    if situation.now <= attempt.moved_at + timedelta(seconds=timeout_s + _MARGIN_S):
        return None
    message = f"No step for more than {timeout_s} s after step {attempt.progress.step}."
    return answer_failure(situation, causes.HANG, message=message)
