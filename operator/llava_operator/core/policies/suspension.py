"""A suspended job has no attempt; resuming makes the next one, uncharged."""

from __future__ import annotations

from llava_contract.v1alpha1.status import Phase
from llava_operator.core.decision import Decision, Rest, Situation, Suspend

__all__ = ["suspend"]


def suspend(situation: Situation) -> Decision | None:
    """Stop when the spec says so, then rest until it says otherwise."""
    if not situation.plan.suspend:
        return None
    return Rest() if situation.status.phase is Phase.SUSPENDED else Suspend(situation.wanted_child)
