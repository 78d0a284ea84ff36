"""A job that succeeded or failed stays as it is; what it left on the cluster goes when its owner said so."""

from __future__ import annotations

from datetime import timedelta

from llava_contract.v1alpha1.status import Phase
from llava_operator.core.decision import Decision, Rest, Situation, StopAttempt, Wait

__all__ = ["rest_when_over"]


def rest_when_over(situation: Situation) -> Decision | None:
    """Leave an ended job alone, and remove what remains of its attempts after runPolicy.ttlSecondsAfterFinished."""
    status, ttl_s = situation.status, situation.plan.ttl_s
    if status.phase not in (Phase.SUCCEEDED, Phase.FAILED):
        return None
    remaining = [seen.child for seen in situation.observed.attempts if seen.remains]
    if ttl_s is None or status.completion_time is None or not remaining:
        return Rest()
    until = status.completion_time + timedelta(seconds=ttl_s)
    return Wait(until) if situation.now < until else StopAttempt(remaining[0])
