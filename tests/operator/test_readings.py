"""What is remembered of pods' answers: what stands still, what is unknown, who is asked when, and who is woken."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from llava_contract.run import JobKind
from llava_operator.core.job import Key
from llava_operator.progress import Answer, FirstPod, Silent, Unreachable
from llava_operator.readings import Heard, Memory, Readings
from support.clock import Clock
from support.eventually import eventually
from support.jobs import KEY, NOON
from support.progress_pod import answering, first_pod, told

OTHER = Key(JobKind.EVAL, "team", "other")
AWAY, REFUSED = Unreachable("timed out"), Unreachable("refused")


def memory(*answers: tuple[float, Answer]) -> Memory:
    """Remember answers by the second at which they came."""
    kept = Memory(0.0)
    for at, answer in answers:
        kept = kept.after(answer, at)
    return kept


@pytest.mark.parametrize(
    ("answers", "now", "want"),
    [
        ([], 500, Heard()),
        ([(0, Silent())], 500, Heard()),
        ([(0, told(1))], 0, Heard(told(1), 0)),
        ([(0, told(1)), (30, told(1))], 30, Heard(told(1), 30)),
        ([(0, told(1)), (30, told(1))], 500, Heard(told(1), 30)),
        ([(0, told(1)), (30, told(2))], 30, Heard(told(2), 0)),
        ([(0, told(1)), (30, told(1, time=NOON + timedelta(seconds=1)))], 30,
         Heard(told(1, time=NOON + timedelta(seconds=1)), 0)),
        ([(0, told(1)), (900, AWAY)], 900, Heard(told(1), None)),
        ([(0, told(1)), (30, AWAY), (900, told(1))], 900, Heard(told(1), 900)),
        ([(0, AWAY)], 119, Heard()),
        ([(0, AWAY)], 120, Heard(trouble="timed out")),
        ([(0, AWAY), (60, REFUSED), (120, REFUSED)], 120, Heard(trouble="timed out")),
        ([(0, AWAY), (60, Silent()), (120, REFUSED)], 120, Heard()),
    ],
    ids=["nothing", "silent", "first", "stands still", "nobody asked since", "moved", "the same step, told anew",
         "unreachable", "reachable again and not moved", "unreachable for a moment", "unreachable for long",
         "the first reason stays", "was there in between"],
)  # fmt: skip
def test_what_is_known(answers: list[tuple[float, Answer]], now: float, want: Heard) -> None:
    assert memory(*answers).heard(now) == want


@pytest.mark.parametrize(
    ("answers", "now", "want_s"),
    [
        ([(0, Silent())], 0, 5),
        ([(0, AWAY)], 59, 5),
        ([(0, Silent())], 60, 30),
        ([(0, told(1))], 0, 30),
        ([(100, AWAY)], 110, 5),
        ([(0, told(1)), (30, AWAY)], 40, 5),
        ([(0, told(1)), (30, AWAY)], 150, 120),
    ],
)
def test_when_the_next_question_comes(answers: list[tuple[float, Answer]], now: float, want_s: float) -> None:
    assert memory(*answers).wait_s(now) == want_s


class Pods:
    """What pods answer, and who was asked and woken when; nothing runs but what the test asks for."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.woken: list[Key] = []
        self.clock = Clock()
        self.readings = Readings(self.woken.append, self.clock, self.read)
        self.queue = self.readings._queue
        self.queue.open()

    def read(self, pod: FirstPod) -> Answer:
        self.asked.append(pod.uid)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def pass_time(self, seconds: int) -> None:
        """Let seconds pass, one by one, and ask whoever is due."""
        for _ in range(seconds):
            while self.queue.stuck_s() or self.is_due():
                uid = self.queue.get()
                assert uid is not None
                self.readings.ask(uid)
            self.clock.now += 1

    def is_due(self) -> bool:
        next_at = self.queue._schedule.next_at()
        return next_at is not None and next_at <= self.clock.now


def test_looks_however_many_do_not_ask_more_often() -> None:
    pods = Pods(told(1))
    for _ in range(90):
        pods.readings.follow(KEY, running=[first_pod()])
        pods.pass_time(1)
    assert len(pods.asked) == 3


def test_an_answer_wakes_its_job() -> None:
    pods = Pods(told(1))
    pods.readings.follow(KEY, running=[first_pod()])
    pods.pass_time(1)
    assert (pods.woken, pods.readings.follow(KEY, running=[first_pod()])) == ([KEY], {"pod-0": Heard(told(1), 0)})


def test_a_look_waits_for_no_pod() -> None:
    assert Pods(told(1)).readings.follow(KEY, running=[first_pod()]) == {"pod-0": Heard()}


def test_a_pod_that_ended_is_not_asked_and_not_forgotten() -> None:
    pods = Pods(told(1))
    pods.readings.follow(KEY, running=[first_pod()])
    pods.pass_time(1)
    pods.readings.follow(KEY, running=[], ended=[first_pod()])
    pods.pass_time(90)
    heard = pods.readings.follow(KEY, running=[], ended=[first_pod()])
    assert (len(pods.asked), heard) == (1, {"pod-0": Heard(told(1), 0)})


def test_the_next_attempt_begins_without_memories() -> None:
    pods = Pods(told(1))
    pods.readings.follow(KEY, running=[first_pod()])
    pods.pass_time(1)
    assert pods.readings.follow(KEY, running=[first_pod("pod-of-2")]) == {"pod-of-2": Heard()}
    assert pods.readings.follow(KEY, running=[first_pod()]) == {"pod-0": Heard()}


def test_a_job_that_is_gone_is_forgotten_and_others_are_not() -> None:
    pods = Pods(told(1))
    pods.readings.follow(KEY, running=[first_pod()])
    pods.readings.follow(OTHER, running=[first_pod("pod-other")])
    pods.readings.forget(KEY)
    pods.pass_time(90)
    assert set(pods.asked) == {"pod-other"}
    assert set(pods.readings._followed) == {"pod-other"}


def test_a_bug_of_ours_stops_no_reader(caplog: pytest.LogCaptureFixture) -> None:
    pods = Pods(ZeroDivisionError("a bug"))  # type: ignore[arg-type]
    pods.readings.follow(KEY, running=[first_pod()])
    pods.pass_time(1)
    assert (pods.woken, "broke" in caplog.text) == ([KEY], True)


@contextmanager
def reading(readings: Readings) -> Iterator[Readings]:
    threads = readings.start(2)
    yield readings
    readings.close()
    for thread in threads:
        thread.join()


def test_real_threads_read_a_real_pod() -> None:
    woken = threading.Event()
    body = told(7).model_dump_json().encode()
    with answering(200, body) as port, reading(Readings(lambda _: woken.set(), Clock())) as readings:
        pods = [first_pod(port=port)]
        readings.follow(KEY, running=pods)
        eventually(woken.is_set)
        assert readings.follow(KEY, running=pods) == {"pod-0": Heard(told(7), 0)}
