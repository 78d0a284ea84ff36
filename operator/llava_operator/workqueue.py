"""When each key is looked at next: at most one thread a key, repeats become one, failures wait longer each time.

`Schedule` decides with the time given to it; `WorkQueue` adds the threads' waiting, on a monotonic clock.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

__all__ = ["Schedule", "WorkQueue", "start_workers"]

K = TypeVar("K", bound=Hashable)

_FIRST_BACKOFF_S: Final = 0.5
_MAX_BACKOFF_S: Final = 60.0


@dataclass
class Schedule(Generic[K]):
    """Which key is due; all times are seconds of one monotonic clock. Not for several threads."""

    _due_at: dict[K, float] = field(default_factory=dict)
    _heap: list[tuple[float, int, K]] = field(default_factory=list)
    """Only entries that agree with `_due_at` count. The number keeps keys from being compared."""
    _running: set[K] = field(default_factory=set)
    _failures: dict[K, int] = field(default_factory=dict)
    _not_before: dict[K, float] = field(default_factory=dict)
    """Of keys that failed: a broken object whose events keep coming must not spin."""
    _num_pushed: int = 0

    def add(self, key: K, at: float) -> None:
        """Ask for a look not later than `at`; an earlier wish stands."""
        at = max(at, self._not_before.get(key, at))
        if self._due_at.get(key, float("inf")) <= at:
            return
        self._due_at[key] = at
        self._push(key)

    def take(self, now: float) -> K | None:
        """Hand out the key that has waited longest, if any is due; it is not handed out again before it is finished."""
        self._drop_outdated()
        if not self._heap or self._heap[0][0] > now:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._due_at[key]
        self._running.add(key)
        return key

    def finish(self, key: K) -> None:
        """Say that the look is over and went well; what was asked for meanwhile comes next."""
        self._failures.pop(key, None)
        self._not_before.pop(key, None)
        self._end(key)

    def fail(self, key: K, now: float) -> float:
        """Say that the look failed; gives the wait before the next: 0.5 s, then twice as long each time, to 60 s."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay_s = min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(failures, 30))
        self._due_at[key] = self._not_before[key] = now + delay_s
        self._end(key)
        return delay_s

    def next_at(self) -> float | None:
        """Tell when the next key is due; None when none is waiting."""
        self._drop_outdated()
        return self._heap[0][0] if self._heap else None

    @property
    def num_waiting(self) -> int:
        """Keys that will be handed out, now or later."""
        return len(self._due_at)

    @property
    def num_running(self) -> int:
        """Keys that are being looked at."""
        return len(self._running)

    def _end(self, key: K) -> None:
        self._running.discard(key)
        if key in self._due_at:
            self._push(key)

    def _push(self, key: K) -> None:
        self._num_pushed += 1
        heapq.heappush(self._heap, (self._due_at[key], self._num_pushed, key))

    def _drop_outdated(self) -> None:
        # A key that is being looked at is pushed again when that ends.
        while self._heap:
            at, _, key = self._heap[0]
            if self._due_at.get(key) == at and key not in self._running:
                return
            heapq.heappop(self._heap)


class WorkQueue(Generic[K]):
    """A schedule that threads wait on; nothing is handed out before `open`, nothing after `close`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._schedule: Schedule[K] = Schedule()
        self._changed = threading.Condition()
        self._is_open = False
        self._is_closed = False
        self._moved_at = clock()

    def open(self) -> None:
        """Begin to hand out keys."""
        with self._changed:
            self._is_open, self._moved_at = True, self._clock()
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out nothing any more; waiting threads return."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def add(self, key: K, delay_s: float = 0.0) -> None:
        """Ask for a look at a key after a delay; several wishes become one."""
        with self._changed:
            self._schedule.add(key, self._clock() + delay_s)
            self._changed.notify()

    def get(self) -> K | None:
        """Wait for the next key that is due; None when the queue was closed."""
        with self._changed:
            while not self._is_closed:
                if self._is_open and (key := self._schedule.take(self._clock())) is not None:
                    self._moved_at = self._clock()
                    return key
                self._changed.wait(self._wait_s())
            return None

    def finish(self, key: K, delay_s: float | None = None) -> None:
        """End the look at a key; look again after the delay, or only when something happens."""
        with self._changed:
            if delay_s is not None:
                self._schedule.add(key, self._clock() + delay_s)
            self._schedule.finish(key)
            self._changed.notify()

    def fail(self, key: K) -> float:
        """End a look that failed; gives the seconds until the next one."""
        with self._changed:
            delay_s = self._schedule.fail(key, self._clock())
            self._changed.notify()
            return delay_s

    def stuck_s(self) -> float:
        """Tell for how long a key has been due without any being handed out; 0 when all is well."""
        with self._changed:
            next_at = self._schedule.next_at()
            if not self._is_open or self._is_closed or next_at is None:
                return 0.0
            return max(0.0, self._clock() - max(next_at, self._moved_at))

    def depth(self) -> int:
        """Count the keys that are waiting or being looked at."""
        with self._changed:
            return self._schedule.num_waiting + self._schedule.num_running

    def _wait_s(self) -> float | None:
        next_at = self._schedule.next_at() if self._is_open else None
        return None if next_at is None else max(0.0, next_at - self._clock())


def start_workers(queue: WorkQueue[K], work: Callable[[K], None], *, count: int) -> list[threading.Thread]:
    """Start threads that hand keys to `work`, which ends each look itself; they leave when the queue closes."""

    def run() -> None:
        while (key := queue.get()) is not None:
            work(key)

    threads = [threading.Thread(target=run, name=f"worker-{number}", daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads
