"""What the first pods of running attempts told last, and since when: they are asked by threads of their own.

A look never waits for a pod. It says which pods it sees, takes what is remembered of them, and is repeated when there
is something new to remember.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from llava_contract.result import Progress
from llava_operator.core.job import Key
from llava_operator.progress import Answer, FirstPod, Silent, Unreachable, read_progress
from llava_operator.workqueue import WorkQueue, start_workers

__all__ = ["Heard", "Memory", "Readings"]

_LOG: Final = logging.getLogger("llava_operator")
_NUM_READERS: Final = 16
"""A pod that does not answer takes one of them for 2 s."""
_EVERY_S: Final = 30.0
_AT_FIRST_S: Final = 5.0
_FIRST_S: Final = 60.0
"""A pod that has not told of anything yet is asked more often for so long: short stages shall be seen too.

So is one whose answer was lost, until that has lasted.
"""
_LONG_S: Final = 120.0
"""Being unreachable for so long is worth a word; then it is asked this seldom."""


@dataclass(frozen=True)
class Heard:
    """What is known of a pod's progress."""

    progress: Progress | None = None
    """What it told last; None when it never told of anything."""
    still_s: float | None = None
    """For how long that has been seen to stand still; None when that cannot be known now."""
    trouble: str = ""
    """Why it cannot be asked, once that has lasted."""


@dataclass(frozen=True)
class Memory:
    """A pod's answers so far; all times are seconds of the operator's own monotonic clock, never a pod's."""

    begun_at: float
    progress: Progress | None = None
    moved_at: float = 0.0
    """When this progress was heard first."""
    confirmed_at: float = 0.0
    """When it was heard last."""
    lost_at: float | None = None
    """Since when the pod has been unreachable."""
    why: str = ""

    def after(self, answer: Answer, now: float) -> Memory:
        """Remember one more answer; of trouble that lasts the first reason is kept, so that status does not flicker."""
        match answer:
            case Progress():
                moved_at = self.moved_at if answer == self.progress else now
                return Memory(self.begun_at, answer, moved_at, confirmed_at=now)
            case Silent():
                return replace(self, lost_at=None, why="")
            case Unreachable(why=why):
                return self if self.lost_at is not None else replace(self, lost_at=now, why=why)
            case _:
                assert_never(answer)

    def heard(self, now: float) -> Heard:
        """Say what is known; a progress stands still for as long as it was heard, not for as long as nobody asked."""
        if self.lost_at is None:
            return Heard(self.progress, self.confirmed_at - self.moved_at if self.progress else None)
        return Heard(self.progress, None, self.why if now - self.lost_at >= _LONG_S else "")

    def wait_s(self, now: float) -> float:
        """Say when to ask again."""
        if self.lost_at is not None:
            return _LONG_S if now - self.lost_at >= _LONG_S else _AT_FIRST_S
        return _AT_FIRST_S if self.progress is None and now - self.begun_at < _FIRST_S else _EVERY_S


@dataclass(frozen=True)
class _Followed:
    """A pod that somebody cares for; one that is not asked is remembered all the same."""

    key: Key
    pod: FirstPod
    memory: Memory
    is_asked: bool


@dataclass
class Readings:
    """All pods that are asked, by UID, from several threads."""

    wake: Callable[[Key], None]
    clock: Callable[[], float]
    read: Callable[[FirstPod], Answer] = read_progress
    _followed: dict[str, _Followed] = field(default_factory=dict)
    _by_key: dict[Key, set[str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _queue: WorkQueue[str] = field(init=False)

    def __post_init__(self) -> None:
        self._queue = WorkQueue(self.clock)

    def start(self, count: int = _NUM_READERS) -> list[threading.Thread]:
        """Begin to ask; the threads end after `close`."""
        self._queue.open()
        return start_workers(self._queue, self.ask, count=count)

    def close(self) -> None:
        """Ask nobody any more."""
        self._queue.close()

    def follow(self, key: Key, *, running: Iterable[FirstPod], ended: Iterable[FirstPod] = ()) -> dict[str, Heard]:
        """Ask the running pods of a job from now on, forget those that are not named, and say what is known, by UID."""
        named = {**{pod.uid: (pod, False) for pod in ended}, **{pod.uid: (pod, True) for pod in running}}
        now = self.clock()
        with self._lock:
            for uid in self._by_key.pop(key, set()) - set(named):
                del self._followed[uid]
            if named:
                self._by_key[key] = set(named)
            due = [uid for uid, (pod, is_asked) in named.items() if self._note(key, pod, is_asked=is_asked, now=now)]
            told = {uid: self._followed[uid].memory.heard(now) for uid in named}
        for uid in due:
            self._queue.add(uid)
        return told

    def forget(self, key: Key) -> None:
        """Forget a job that is gone."""
        self.follow(key, running=())

    def ask(self, uid: str) -> None:
        """Ask one pod, remember the answer and wake its job; nothing is raised."""
        with self._lock:
            followed = self._followed.get(uid)
        if followed is None or not followed.is_asked:
            self._queue.finish(uid)
            return
        try:
            answer = self.read(followed.pod)
        except Exception as error:  # noqa: BLE001  one odd answer must not stop the asking
            _LOG.error("reading progress broke", exc_info=error)
            answer = Unreachable(f"{followed.pod.address} could not be read: {type(error).__name__}")
        now = self.clock()
        with self._lock:
            if latest := self._followed.get(uid):
                followed = replace(latest, memory=latest.memory.after(answer, now))
                self._followed[uid] = followed
        self._queue.finish(uid, followed.memory.wait_s(now))
        self.wake(followed.key)

    def _note(self, key: Key, pod: FirstPod, *, is_asked: bool, now: float) -> bool:
        """Remember that a pod is there; True when it has to be asked from now on and was not before."""
        known = self._followed.get(pod.uid)
        self._followed[pod.uid] = _Followed(key, pod, known.memory if known else Memory(now), is_asked)
        return is_asked and not (known and known.is_asked)
