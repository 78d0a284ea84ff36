"""The rules of metav1 conditions: one per type, and the transition time moves only when the status does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from llava_contract.v1alpha1.status import Condition, ConditionStatus

__all__ = ["Claim", "ConditionType", "find_condition", "with_claims"]


class ConditionType(StrEnum):
    """What our conditions are about."""

    PENDING = "Pending"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True)
class Claim:
    """What a condition shall say."""

    type: ConditionType
    is_true: bool
    reason: str
    message: str


def find_condition(conditions: list[Condition], type_: ConditionType) -> Condition | None:
    """Find the condition of that type."""
    return next((condition for condition in conditions if condition.type == type_), None)


def with_claims(conditions: list[Condition], claims: list[Claim], *, generation: int, now: datetime) -> list[Condition]:
    """Merge claims into conditions; a denial of what nobody ever claimed adds nothing."""
    merged = {condition.type: condition for condition in conditions}
    for claim in claims:
        before = merged.get(claim.type)
        if before or claim.is_true:
            merged[claim.type] = _condition(claim, before, generation=generation, now=now)
    return list(merged.values())


def _condition(claim: Claim, before: Condition | None, *, generation: int, now: datetime) -> Condition:
    status = ConditionStatus.TRUE if claim.is_true else ConditionStatus.FALSE
    is_same = before is not None and before.status is status
    return Condition(
        type=claim.type,
        status=status,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before is not None and is_same else now,
        reason=claim.reason,
        message=claim.message,
    )
