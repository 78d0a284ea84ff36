"""What is said of an attempt that does not start, and how often the saying changes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from llava_contract.v1alpha1.status import WaitingStatus
from llava_operator.core.observe import Waiting
from llava_operator.core.waiting import news_at, still_waiting
from support.jobs import NOON

THREE = Waiting("Unschedulable", "0/3 nodes are available")
FOUR = Waiting("Unschedulable", "0/4 nodes are available")
IMAGE = Waiting("ImagePullBackOff", "image x cannot be pulled")


def told(waiting: Waiting = THREE, *, s_ago: float = 0) -> WaitingStatus:
    return still_waiting(None, waiting, is_holding=False, now=NOON - timedelta(seconds=s_ago))


def heard(before: WaitingStatus, waiting: Waiting, *, is_holding: bool = False) -> WaitingStatus:
    return still_waiting(before, waiting, is_holding=is_holding, now=NOON)


@pytest.mark.parametrize(
    ("s_ago", "waiting", "want"),
    [
        (5, THREE, THREE.message),
        (5, FOUR, THREE.message),
        (29, FOUR, THREE.message),
        (30, FOUR, FOUR.message),
        (5, IMAGE, IMAGE.message),
        (60, Waiting("Unschedulable", "0/3 nodes"), THREE.message),
    ],
)
def test_another_reason_is_told_at_once_and_another_count_later(s_ago: float, waiting: Waiting, want: str) -> None:
    assert heard(told(s_ago=s_ago), waiting).message == want


@pytest.mark.parametrize(("s_ago", "waiting"), [(5, THREE), (300, THREE), (29, FOUR)])
def test_what_is_no_news_changes_nothing(s_ago: float, waiting: Waiting) -> None:
    before = told(s_ago=s_ago)
    assert heard(before, waiting) == before


def test_the_time_of_waiting_goes_on_with_another_count() -> None:
    after = heard(told(s_ago=60), FOUR)
    assert (after.since, after.time) == (NOON - timedelta(seconds=60), NOON)


def test_the_time_of_holding_goes_on_with_another_reason_and_ends_when_nothing_is_held() -> None:
    held = heard(told(s_ago=60), THREE, is_holding=True)
    assert held.holding_since == NOON
    later = still_waiting(held, IMAGE, is_holding=True, now=NOON + timedelta(seconds=9))
    assert later.holding_since == NOON
    assert heard(later, IMAGE).holding_since is None


@pytest.mark.parametrize(
    ("waiting", "want_s"),
    [(THREE, None), (IMAGE, None), (None, 25), (FOUR, 25)],
    ids=["same", "other", "over", "count"],
)
def test_news_that_is_held_back_is_told_after_the_pause(waiting: Waiting | None, want_s: int | None) -> None:
    at = news_at(told(s_ago=5), waiting)
    assert at == (None if want_s is None else NOON + timedelta(seconds=want_s))
