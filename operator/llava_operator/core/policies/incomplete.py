"""A gang of which a part cannot start holds GPUs for nothing: after a while it gives them back, and nobody is charged.

Two gangs that each hold half of what both need would wait for each other for ever.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Final

from llava_contract import causes
from llava_operator.core.decision import Decision, Situation
from llava_operator.core.observe import AttemptState
from llava_operator.core.policies.failure import answer_failure

__all__ = ["give_back", "gives_back_at"]

_PATIENCE_S: Final = 600
"""Long enough for an autoscaler to bring a node, and shorter than the 900 s after which waiting ranks end with 75."""
_SPREAD_S: Final = 120
"""Two gangs that wait for each other shall not both let go at the same time."""


def give_back(situation: Situation) -> Decision | None:
    """Stop a wanted attempt whose placed pods have waited in vain for the others; another follows, not charged."""
    stage, until = situation.stage, gives_back_at(situation)
    if stage is None or stage.waiting is None or until is None or situation.now < until:
        return None
    told = f"A part of the pods could not start and the others gave their places back. {stage.waiting.reason}: "
    return answer_failure(situation, causes.INCOMPLETE, message=told + stage.waiting.message)


def gives_back_at(situation: Situation) -> datetime | None:
    """Say until when the attempt may hold places without running; None when it holds none that others miss."""
    stage, attempt, planned = situation.stage, situation.attempt, situation.stage_plan
    if stage is None or planned is None or attempt is None or situation.wanted_child is None:
        return None
    is_waiting = attempt.state is AttemptState.PENDING and stage.waiting is not None
    if not is_waiting or stage.waiting is None or stage.waiting.holding_since is None:
        return None
    if planned.num_workers == 1 and planned.gpus_per_worker == 0:
        return None
    spread_s = int(hashlib.sha256(attempt.child.encode()).hexdigest(), 16) % _SPREAD_S
    return stage.waiting.holding_since + timedelta(seconds=_PATIENCE_S + spread_s)
