"""No attempt may be alive that status does not want: this is what keeps a second gang from surviving.

One thing is left alone: what remains of the attempt that a job failed with, so that its logs can be read.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from llava_contract.v1alpha1.status import Phase, StageState
from llava_operator.core.decision import Decision, Situation, StopAttempt, Wait
from llava_operator.core.observe import AttemptState, ObservedAttempt

__all__ = ["stop_leftovers"]

_SETTLE: Final = timedelta(seconds=15)
"""The Training Operator ends the rest of a gang within 2 s of its first failure; if it does not, we do."""


def stop_leftovers(situation: Situation) -> Decision | None:
    """Stop the first attempt that is not the wanted one and may still act, or remains for nobody to read."""
    left = [seen for seen in situation.observed.attempts if seen.child != situation.wanted_child and _is_left(seen)]
    last_word = next((seen for seen in left if _says_why(situation, seen)), None)
    others = [seen for seen in left if seen is not last_word]
    if others:
        return StopAttempt(others[0].child)
    return _settle(situation, last_word) if last_word and last_word.members else None


def _is_left(seen: ObservedAttempt) -> bool:
    """Say whether it is in the way; what a success leaves behind is not."""
    return bool(seen.members) or (seen.remains and seen.state is not AttemptState.SUCCEEDED)


def _says_why(situation: Situation, seen: ObservedAttempt) -> bool:
    """Say whether the job failed with this attempt, and its pods tell why."""
    stage = situation.status.stage(situation.status.current_stage)
    if situation.status.phase is not Phase.FAILED or stage is None or stage.state is not StageState.FAILED:
        return False
    return stage.job_name == seen.child and seen.state is AttemptState.FAILED


def _settle(situation: Situation, last_word: ObservedAttempt) -> Decision:
    """Let the rest of the gang be ended by whoever made it, for a moment."""
    until = (situation.status.completion_time or situation.now) + _SETTLE
    return Wait(until) if last_word.remains and situation.now < until else StopAttempt(last_word.child)
