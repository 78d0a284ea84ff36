"""No attempt may be alive that status does not want: this is what keeps a second gang from surviving."""

from __future__ import annotations

from llava_operator.core.decision import Decision, Situation, StopAttempt

__all__ = ["stop_leftovers"]


def stop_leftovers(situation: Situation) -> Decision | None:
    """Stop the first live attempt that is not the wanted one, ended attempts with surviving members included."""
    wanted = situation.wanted_child
    alive = (attempt for attempt in situation.observed.attempts if attempt.members and attempt.child != wanted)
    return next((StopAttempt(attempt.child) for attempt in alive), None)
