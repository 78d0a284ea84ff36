"""What follows from a look: when the next one comes, and what the log says."""

from __future__ import annotations

import json
import logging
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

import pytest

from llava_contract import causes
from llava_contract.run import JobKind, Stage
from llava_operator.core.decision import Decision, Fail, Rest, StopAttempt, Succeed, Wait
from llava_operator.core.job import Key
from llava_operator.errors import NotLeader, OperatorError, Transient
from llava_operator.logs import JsonLines
from llava_operator.looking import Looks, described, next_look_s
from llava_operator.workqueue import WorkQueue
from support.clock import Clock
from support.jobs import NOON, result

KEY = Key(JobKind.TRAIN, "team", "llava")
RESYNC_S = 300.0


class Tally:
    """What was counted."""

    def __init__(self) -> None:
        self.counted: list[str] = []

    def timed(self) -> AbstractContextManager[object]:
        return nullcontext()

    def decided(self, decision: str) -> None:
        self.counted.append(decision)

    def failed(self, error: str) -> None:
        self.counted.append(error)


def look_once(outcome: Decision | Exception | None) -> tuple[WorkQueue[Key], Clock, Tally]:
    """Look at a job once, with what its reconcile gives or raises."""
    clock, tally = Clock(), Tally()
    queue: WorkQueue[Key] = WorkQueue(clock)

    def look(key: Key) -> Decision | None:
        assert key == KEY
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    queue.open(), queue.add(KEY)
    taken = queue.get()
    assert taken == KEY
    Looks(queue, look, tally=tally, resync_s=RESYNC_S)(taken)
    return queue, clock, tally


@pytest.mark.parametrize(
    ("decision", "want_s"),
    [
        (Wait(), RESYNC_S),
        (Rest(), RESYNC_S),
        (Wait(NOON + timedelta(seconds=20)), 20.0),
        (Wait(NOON + timedelta(hours=2)), RESYNC_S),
        (Wait(NOON - timedelta(seconds=1)), 0.0),
        (StopAttempt("child"), 5.0),
        (Succeed(), 0.0),
        (Fail(causes.BAD_DATA, "row 7"), 0.0),
    ],
)
def test_when_the_next_look_comes_without_an_event(decision: Decision, want_s: float) -> None:
    assert next_look_s(decision, NOON, resync_s=RESYNC_S) == want_s


@pytest.mark.parametrize(
    "error", [Transient("busy"), NotLeader("for a moment"), OperatorError("odd"), ValueError("a bug of ours")]
)
def test_a_look_that_fails_is_repeated_after_a_while(error: Exception) -> None:
    queue, clock, tally = look_once(error)
    clock.now = 0.5
    assert (queue.get(), tally.counted) == (KEY, [type(error).__name__])


def test_only_changes_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="llava_operator")
    look_once(Rest())
    assert not caplog.records
    look_once(Fail(causes.BAD_DATA, "row 7"))
    line = json.loads(JsonLines().format(caplog.records[0]))
    assert line.items() >= {"message": "Fail", "namespace": "team", "name": "llava", "reason": "BadData"}.items()


def test_a_line_names_stage_and_attempt() -> None:
    from llava_operator.core.decision import FinishStage

    assert described(FinishStage(Stage.PREPARE, result(Stage.PREPARE, 2))) == {"stage": "prepare", "attempt": 2}


def test_a_line_of_the_log_is_one_line() -> None:
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "two\nlines", (), None)
    assert len(JsonLines().format(record).splitlines()) == 1


def test_a_job_that_is_not_there_is_not_looked_at_again() -> None:
    queue, _, tally = look_once(None)
    assert (queue.depth(), tally.counted) == (0, [])
