"""One look at one key: reconcile it, say when to look again, and leave one line in the log for what was changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Final, Protocol, assert_never

from llava_operator.core.decision import (
    Decision,
    Fail,
    FinishStage,
    Rest,
    RestartStage,
    StartAttempt,
    StopAttempt,
    Succeed,
    Suspend,
    Wait,
)  # fmt: skip
from llava_operator.core.job import Key
from llava_operator.errors import OperatorError
from llava_operator.workqueue import WorkQueue

__all__ = ["Look", "Looks", "Tally", "described", "next_look_s"]

Look = Callable[[Key], Decision | None]
"""Reconciles a key; None when there is no such job. Raises OperatorError."""

_LOG: Final = logging.getLogger("llava_operator")
_STOPPING_LOOK_S: Final = 5.0
"""Pods tell when they are gone; this is for the event that is lost."""


class Tally(Protocol):
    """Whoever counts looks."""

    def timed(self) -> AbstractContextManager[object]:
        """Measure one look."""
        ...

    def decided(self, decision: str) -> None:
        """Count a decision."""
        ...

    def failed(self, error: str) -> None:
        """Count a look that failed."""
        ...


class Looks:
    """What a worker does with a key."""

    def __init__(self, queue: WorkQueue[Key], look: Look, *, tally: Tally, resync_s: float) -> None:
        self._queue, self._look, self._tally, self._resync_s = queue, look, tally, resync_s

    def __call__(self, key: Key) -> None:
        """Look at a key and end the look; nothing is raised."""
        try:
            with self._tally.timed():
                decision = self._look(key)
        except OperatorError as error:
            # NotLeader too: the lease loop ends the process, unless its renewal is only answered late.
            self._failed(key, error)
        except Exception as error:  # noqa: BLE001  one broken job must not stop the others
            _LOG.error("reconcile broke", exc_info=error, extra={"told": _names(key)})
            self._failed(key, error)
        else:
            if decision is None:
                self._queue.finish(key)
                return
            self._tally.decided(type(decision).__name__)
            if said := described(decision):
                _LOG.info(type(decision).__name__, extra={"told": {**_names(key), **said}})
            self._queue.finish(key, next_look_s(decision, datetime.now(UTC), resync_s=self._resync_s))

    def _failed(self, key: Key, error: Exception) -> None:
        self._tally.failed(type(error).__name__)
        delay_s = self._queue.fail(key)
        told = {**_names(key), "error": type(error).__name__, "again_in_s": delay_s}
        _LOG.warning(str(error), extra={"told": told})


def next_look_s(decision: Decision, now: datetime, *, resync_s: float) -> float:
    """Say in how many seconds to look again if no event comes: at once after a change, else at the resync."""
    match decision:
        case Wait(until=until) if until is not None:
            return min(resync_s, max(0.0, (until - now).total_seconds()))
        case Wait() | Rest():
            return resync_s
        case StopAttempt():
            return min(resync_s, _STOPPING_LOOK_S)
        case StartAttempt() | RestartStage() | FinishStage() | Suspend() | Succeed() | Fail():
            return 0.0
        case _:
            assert_never(decision)


def described(decision: Decision) -> Mapping[str, object]:
    """Give what a log line says about a decision; nothing for those that change nothing."""
    said: Mapping[str, object] = {}
    match decision:
        case StartAttempt(stage=planned, attempt=attempt, child=child):
            said = {"stage": planned.stage, "attempt": attempt, "child": child}
        case RestartStage(stage=stage, child=child, failed=failed):
            said = {"stage": stage, "attempt": failed.attempt, "child": child, "reason": failed.reason}
        case FinishStage(stage=stage, result=result):
            said = {"stage": stage, "attempt": result.attempt}
        case StopAttempt(child=child) | Suspend(child=child):
            said = {"child": child}
        case Fail(cause=cause, message=message, child=child):
            said = {"reason": cause.reason, "why": message, "child": child}
        case Succeed():
            said = {"done": True}
        case Wait() | Rest():
            pass
        case _:
            assert_never(decision)
    return said


def _names(key: Key) -> dict[str, object]:
    return {"kind": key.kind.value, "namespace": key.namespace, "name": key.name}
