"""An attempt that cannot start is given up for one that can: somebody edited the spec to mend what it waits for."""

from __future__ import annotations

from llava_contract import causes
from llava_operator.core.decision import Decision, Situation
from llava_operator.core.observe import AttemptState
from llava_operator.core.policies.failure import answer_failure

__all__ = ["begin_anew"]


def begin_anew(situation: Situation) -> Decision | None:
    """Replace a wanted attempt that waits in vain by one made from the spec as it is now, not charged."""
    stage, attempt = situation.stage, situation.attempt
    if stage is None or attempt is None or situation.wanted_child is None:
        return None
    if attempt.state is not AttemptState.PENDING or stage.waiting is None:
        return None
    if stage.spec_digest in (None, situation.plan.digest):
        return None
    message = f"The spec was edited while the attempt waited. {stage.waiting.reason}: {stage.waiting.message}"
    return answer_failure(situation, causes.EDITED, message=message)
