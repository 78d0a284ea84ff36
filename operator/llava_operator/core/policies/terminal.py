"""A job that succeeded or failed stays as it is."""

from __future__ import annotations

from llava_contract.v1alpha1.status import Phase
from llava_operator.core.decision import Decision, Rest, Situation

__all__ = ["rest_when_over"]


def rest_when_over(situation: Situation) -> Decision | None:
    """Leave an ended job alone."""
    return Rest() if situation.status.phase in (Phase.SUCCEEDED, Phase.FAILED) else None
