"""Who leads: one Lease, and a monotonic clock of one's own instead of anybody's wall clock.

A lease is no fence: a process that was stopped in the middle of a call finishes it when it wakes. What that one call
can do is bounded elsewhere (UID preconditions, attempts that status does not name are deleted); later calls are refused
here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol, assert_never

from llava_operator.errors import Conflict, NotLeader, OperatorError

__all__ = [
    "Acquire", "Fence", "LeaseLoop", "LeaseRecord", "LeaseTimes", "Leases", "Renew", "Seen", "StepDown", "Verdict",
    "Wait", "decide",
]  # fmt: skip


@dataclass(frozen=True)
class LeaseTimes:
    """How patient everybody is."""

    duration_s: float = 15.0
    """A leader that is silent for so long is replaced."""
    renew_deadline_s: float = 10.0
    """A leader that could not renew for so long stops acting."""
    request_timeout_s: float = 5.0
    """No call may last longer."""
    retry_s: float = 2.0
    """Between two looks at the lease."""

    def __post_init__(self) -> None:
        ordered = self.retry_s < self.request_timeout_s < self.renew_deadline_s < self.duration_s
        assert ordered, f"retry < request timeout < renew deadline < duration is needed, these are {self}"


@dataclass(frozen=True)
class LeaseRecord:
    """The Lease as the API server holds it; `version` changes with every write, an empty holder is nobody."""

    holder: str
    version: str = ""
    transitions: int = 0


@dataclass(frozen=True)
class Seen:
    """A record and when this process first saw that version of it; another machine's clock is never asked."""

    record: LeaseRecord | None
    at: float


@dataclass(frozen=True)
class Acquire:
    """Try to become the leader."""


@dataclass(frozen=True)
class Renew:
    """Say that the leader is alive."""


@dataclass(frozen=True)
class Wait:
    """Somebody else leads, and may be believed until then."""

    until: float


@dataclass(frozen=True)
class StepDown:
    """This process led and must not act any more."""

    reason: str


Verdict = Acquire | Renew | Wait | StepDown


class Fence:
    """Until when this process may change anything; asked before every call that does."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._deadline: float | None = None

    @property
    def deadline(self) -> float | None:
        """Monotonic seconds; None when this process never led."""
        return self._deadline

    def extend(self, deadline: float) -> None:
        """Move the deadline; the lease loop alone calls it."""
        self._deadline = deadline

    def check(self) -> None:
        """Raise NotLeader when the lease may have run out."""
        if self._deadline is None:
            raise NotLeader("This replica does not lead: it must not change anything.")
        if (late_s := self._clock() - self._deadline) >= 0:
            raise NotLeader(f"The lease was last renewed {late_s:.1f} s too long ago: another replica may lead by now.")


def decide(seen: Seen, now: float, *, identity: str, deadline: float | None, times: LeaseTimes) -> Verdict:
    """Say what to do about the lease; `deadline` is the fence's, None for a process that does not lead."""
    holder = seen.record.holder if seen.record else ""
    if deadline is not None:
        if now >= deadline:
            return StepDown(f"the lease was not renewed within {times.renew_deadline_s:g} s")
        return Renew() if holder == identity else StepDown(f"{holder or 'nobody'} holds the lease")
    # The identity is drawn anew by each process: a lease in our name is a write of ours whose answer was lost.
    if holder in ("", identity):
        return Acquire()
    until = seen.at + times.duration_s
    return Acquire() if now >= until else Wait(until)


class Leases(Protocol):
    """Where the Lease is kept."""

    def read(self) -> LeaseRecord | None:
        """Read it; None when there is none. Raises Transient."""
        ...

    def write(self, record: LeaseRecord) -> LeaseRecord:
        """Replace the version that the record names, or create it when it names none. Raises Conflict, Transient."""
        ...


_LOG: Final = logging.getLogger("llava_operator")
_RELEASED: Final = ""


class LeaseLoop:
    """Acquires, renews and gives back; every change of mind is told through `on_lead` and `on_loss`."""

    def __init__(
        self, leases: Leases, fence: Fence, *, identity: str, clock: Callable[[], float], times: LeaseTimes
    ) -> None:
        self._leases, self._fence, self._identity, self._clock, self._times = leases, fence, identity, clock, times
        self._seen = Seen(None, clock())
        self._beat_at = clock()

    @property
    def is_leader(self) -> bool:
        """Whether this process has the lease, as far as it knows."""
        return self._fence.deadline is not None

    def silent_s(self) -> float:
        """Tell how long ago the loop last moved."""
        return self._clock() - self._beat_at

    def run(self, stop: threading.Event, *, on_lead: Callable[[], None], on_loss: Callable[[str], None]) -> None:
        """Beat until told to stop; `on_loss` is called at most once and ends the loop."""
        while not stop.is_set():
            led = self.is_leader
            lost = self.beat()
            if lost is not None:
                on_loss(lost)
                return
            if self.is_leader and not led:
                on_lead()
            stop.wait(self._times.retry_s)

    def beat(self) -> str | None:
        """Look at the lease once and act; gives the reason when leadership was lost."""
        self._beat_at = self._clock()
        try:
            self._look()
            verdict = self._verdict()
            if isinstance(verdict, Acquire | Renew):
                self._write(verdict)
        except Conflict:
            # Somebody was quicker: the next look tells who.
            pass
        except OperatorError as error:
            # Nobody answers, or says no: the clock decides whether that matters yet.
            _LOG.warning(str(error), extra={"told": {"error": type(error).__name__, "lease": self._identity}})
        verdict = self._verdict()
        return verdict.reason if isinstance(verdict, StepDown) else None

    def release(self) -> None:
        """Give the lease back, so that another replica need not wait; call it when nothing acts any more."""
        record = self._seen.record
        if not self.is_leader or record is None or record.holder != self._identity:
            return
        try:
            self._leases.write(replace(record, holder=_RELEASED))
        except OperatorError:
            # It runs out by itself.
            return

    def _look(self) -> None:
        record = self._leases.read()
        if record != self._seen.record:
            self._seen = Seen(record, self._clock())

    def _verdict(self) -> Verdict:
        return decide(
            self._seen, self._clock(), identity=self._identity, deadline=self._fence.deadline, times=self._times
        )

    def _write(self, verdict: Acquire | Renew) -> None:
        record = self._seen.record or LeaseRecord("")
        sent_at = self._clock()
        match verdict:
            case Acquire():
                taken = replace(record, holder=self._identity, transitions=record.transitions + 1)
            case Renew():
                taken = record
            case _:
                assert_never(verdict)
        written = self._leases.write(taken)
        # Counted from before the call: its answer may have been long under way.
        self._seen = Seen(written, sent_at)
        self._fence.extend(sent_at + self._times.renew_deadline_s)
