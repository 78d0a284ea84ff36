"""When each key is looked at next."""

from __future__ import annotations

import threading

import pytest

from llava_operator.workqueue import Schedule, WorkQueue, start_workers
from support.clock import Clock


def schedule(**due: float) -> Schedule[str]:
    made: Schedule[str] = Schedule()
    for key, at in due.items():
        made.add(key, at)
    return made


def test_the_key_that_waited_longest_comes_first() -> None:
    made = schedule(late=2.0, early=1.0)
    assert [made.take(5.0), made.take(5.0), made.take(5.0)] == ["early", "late", None]


def test_nothing_is_due_before_its_time() -> None:
    made = schedule(a=2.0)
    assert (made.take(1.9), made.next_at(), made.take(2.0)) == (None, 2.0, "a")


def test_many_wishes_become_one_look() -> None:
    made = schedule(a=1.0)
    made.add("a", 3.0), made.add("a", 0.5)
    assert (made.next_at(), made.take(0.5), made.take(9.0)) == (0.5, "a", None)


def test_a_key_is_never_looked_at_twice_at_once() -> None:
    made = schedule(a=0.0)
    made.take(0.0)
    made.add("a", 0.0)
    assert (made.take(9.0), made.next_at()) == (None, None)


def test_what_happens_during_a_look_is_looked_at_after_it() -> None:
    made = schedule(a=0.0)
    made.take(0.0)
    made.add("a", 1.0)
    made.finish("a")
    assert made.take(1.0) == "a"


def test_a_busy_key_does_not_hold_up_others() -> None:
    made = schedule(a=0.0)
    made.take(0.0)
    made.add("a", 0.0), made.add("b", 1.0)
    assert (made.next_at(), made.take(1.0)) == (1.0, "b")


def test_failures_wait_longer_each_time_and_success_forgets_them() -> None:
    made = schedule(a=0.0)
    waits = []
    for _ in range(9):
        now = made.next_at() or 0.0
        made.take(now)
        waits.append(made.fail("a", now))
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    made.take(now := made.next_at() or 0.0)
    made.finish("a"), made.add("a", now)
    made.take(now)
    assert made.fail("a", now) == 0.5


@pytest.mark.parametrize("asked_at", [0.0, 0.2])
def test_events_do_not_shorten_the_wait_after_a_failure(asked_at: float) -> None:
    made = schedule(a=0.0)
    made.take(0.0)
    made.add("a", asked_at)
    made.fail("a", 0.0)
    made.add("a", asked_at)
    assert made.next_at() == 0.5


def test_a_closed_queue_lets_its_threads_go() -> None:
    queue: WorkQueue[str] = WorkQueue(Clock())
    queue.open()
    threads = start_workers(queue, queue.finish, count=3)
    queue.close()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def test_nothing_is_handed_out_before_the_queue_is_open() -> None:
    queue: WorkQueue[str] = WorkQueue(Clock())
    queue.add("a")
    done = threading.Event()
    seen: list[bool] = []

    def work(key: str) -> None:
        seen.append(is_open)
        queue.finish(key)
        done.set()

    is_open = False
    threads = start_workers(queue, work, count=1)
    is_open = True
    queue.open()
    assert done.wait(10)
    queue.close()
    threads[0].join(10)
    assert seen == [True]


def test_a_queue_that_does_not_move_says_for_how_long() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("a", delay_s=5.0)
    clock.now = 100.0
    before_it_opened = queue.stuck_s()
    queue.open()
    clock.now = 130.0
    assert (before_it_opened, queue.stuck_s(), queue.get(), queue.stuck_s()) == (0.0, 30.0, "a", 0.0)
