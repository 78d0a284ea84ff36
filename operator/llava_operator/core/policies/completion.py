"""An attempt that succeeded ends its stage, even one that was being stopped."""

from __future__ import annotations

from llava_operator.core.decision import Decision, FinishStage, Situation
from llava_operator.core.observe import AttemptState

__all__ = ["finish_stage"]


def finish_stage(situation: Situation) -> Decision | None:
    """Take over what a successful attempt made."""
    attempt = situation.attempt
    if attempt is None or attempt.state is not AttemptState.SUCCEEDED:
        return None
    assert attempt.result is not None, f"{attempt.child} succeeded without a result"
    return FinishStage(attempt.stage, attempt.result)
