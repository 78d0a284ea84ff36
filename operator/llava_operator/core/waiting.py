"""What status says of an attempt that does not start: the reason at once, its numbers at most every half minute."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from llava_contract.v1alpha1.status import WaitingStatus
from llava_operator.core.observe import Waiting

__all__ = ["is_fresh", "news_at", "still_waiting"]

_PAUSE: Final = timedelta(seconds=30)
"""The scheduler counts nodes anew each time it tries; no reader needs every count."""


def still_waiting(before: WaitingStatus | None, waiting: Waiting, *, is_holding: bool, now: datetime) -> WaitingStatus:
    """Bring what is said up to date: another reason at once, another sentence after a pause, less of the same never."""
    same = before if before is not None and before.reason == waiting.reason else None
    is_news = same is None or not (_says_less(waiting, same) or is_fresh(same, now))
    held_before = before.holding_since if before else None
    return WaitingStatus(
        reason=waiting.reason,
        message=waiting.message if same is None or is_news else same.message,
        since=now if same is None else same.since,
        time=now if same is None or is_news else same.time,
        holding_since=(held_before or now) if is_holding else None,
    )


def is_fresh(told: WaitingStatus, now: datetime) -> bool:
    """Say whether it is too early to call this over: a container that is tried again has a moment of peace."""
    return now < told.time + _PAUSE


def news_at(told: WaitingStatus | None, waiting: Waiting | None) -> datetime | None:
    """Say when a sentence that is held back may be told; None when nothing is."""
    if told is None or (waiting is not None and (told.reason != waiting.reason or _says_less(waiting, told))):
        return None
    return told.time + _PAUSE


def _says_less(waiting: Waiting, told: WaitingStatus) -> bool:
    return told.message.startswith(waiting.message)
