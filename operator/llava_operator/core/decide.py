"""The order of the policies, and nothing else: the first one with an answer decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from llava_operator.core.decision import Decision, Situation
from llava_operator.core.policies.advance import start_next
from llava_operator.core.policies.completion import finish_stage
from llava_operator.core.policies.edited import begin_anew
from llava_operator.core.policies.expiry import expire
from llava_operator.core.policies.failure import restart_or_fail
from llava_operator.core.policies.gate import refuse_low_score
from llava_operator.core.policies.hang import restart_hung
from llava_operator.core.policies.incomplete import give_back
from llava_operator.core.policies.leftover import stop_leftovers
from llava_operator.core.policies.patience import back_off, wait_for_attempt, wait_for_model
from llava_operator.core.policies.suspension import suspend
from llava_operator.core.policies.terminal import rest_when_over

__all__ = ["POLICIES", "decide"]

POLICIES: Final[tuple[Callable[[Situation], Decision | None], ...]] = (
    stop_leftovers,
    rest_when_over,
    finish_stage,
    suspend,
    expire,
    restart_or_fail,
    restart_hung,
    begin_anew,
    give_back,
    wait_for_attempt,
    back_off,
    wait_for_model,
    refuse_low_score,
    start_next,
)


def decide(situation: Situation) -> Decision:
    """Say what the job needs next."""
    return next(decision for policy in POLICIES if (decision := policy(situation)))
