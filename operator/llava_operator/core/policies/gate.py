"""A model that scores below the minimum fails the job, after its scores are written down."""

from __future__ import annotations

from llava_contract import causes
from llava_operator.core.decision import Decision, Fail, Situation

__all__ = ["refuse_low_score"]


def refuse_low_score(situation: Situation) -> Decision | None:
    """Fail when all stages are done and the first benchmark's score is below evaluate.minimumAccuracy."""
    gate = situation.plan.gate
    if situation.stage_plan is not None or gate is None or gate.minimum is None:
        return None
    score = situation.status.results.get(gate.result)
    if score is not None and score >= gate.minimum:
        return None
    got = "has no score" if score is None else f"is {score:.3f}"
    message = f"{gate.result} {got}, below evaluate.minimumAccuracy {gate.minimum:g}. {causes.BELOW_MINIMUM.advice}"
    return Fail(causes.BELOW_MINIMUM, message)
