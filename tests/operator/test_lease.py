"""Who leads, on a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from llava_operator.errors import Conflict, NotLeader, OperatorError, Refused, Transient
from llava_operator.lease import (
    Acquire,
    Fence,
    LeaseLoop,
    LeaseRecord,
    LeaseTimes,
    Renew,
    Seen,
    StepDown,
    Verdict,
    Wait,
    decide,
)  # fmt: skip
from support.clock import Clock

TIMES = LeaseTimes()
OURS, THEIRS, FREE = (LeaseRecord(holder, version="1") for holder in ("us", "them", ""))


@pytest.mark.parametrize(
    ("record", "seen_at", "deadline", "want"),
    [
        (None, 0.0, None, Acquire),
        (FREE, 100.0, None, Acquire),
        (OURS, 100.0, None, Acquire),
        (THEIRS, 100.0, None, Wait),
        (THEIRS, 85.1, None, Wait),
        (THEIRS, 85.0, None, Acquire),
        (OURS, 95.0, 105.0, Renew),
        (OURS, 90.0, 100.0, StepDown),
        (THEIRS, 100.0, 105.0, StepDown),
        (None, 100.0, 105.0, StepDown),
        (FREE, 100.0, 105.0, StepDown),
    ],
)
def test_the_verdict(record: LeaseRecord | None, seen_at: float, deadline: float | None, want: type[Verdict]) -> None:
    verdict = decide(Seen(record, seen_at), 100.0, identity="us", deadline=deadline, times=TIMES)
    assert isinstance(verdict, want)


def test_a_leader_stops_before_another_may_start() -> None:
    assert TIMES.renew_deadline_s + TIMES.request_timeout_s <= TIMES.duration_s


@pytest.mark.parametrize("wrong", [{"retry_s": 5.0}, {"request_timeout_s": 10.0}, {"renew_deadline_s": 15.0}])
def test_times_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(AssertionError, match="is needed"):
        LeaseTimes(**wrong)


@pytest.mark.parametrize(("deadline", "now"), [(None, 0.0), (10.0, 10.0), (10.0, 99.0)])
def test_the_fence_refuses_who_does_not_lead(deadline: float | None, now: float) -> None:
    fence = Fence(Clock(now))
    if deadline is not None:
        fence.extend(deadline)
    with pytest.raises(NotLeader):
        fence.check()


def test_the_fence_lets_a_leader_act() -> None:
    fence = Fence(Clock(9.9))
    fence.extend(10.0)
    fence.check()


@dataclass
class OneLease:
    """The Lease in memory, with the API server's optimistic lock."""

    clock: Clock
    record: LeaseRecord | None = None
    failure: OperatorError | None = None
    answer_s: float = 0.0
    log: list[str] = field(default_factory=list)

    def read(self) -> LeaseRecord | None:
        self._answer()
        return self.record

    def write(self, record: LeaseRecord) -> LeaseRecord:
        self._answer()
        if record.version != (self.record.version if self.record else ""):
            raise Conflict("another version")
        self.record = replace(record, version=str(int(record.version or 0) + 1))
        self.log.append(record.holder)
        return self.record

    def _answer(self) -> None:
        self.clock.now += self.answer_s
        if self.failure:
            raise self.failure


def replicas(*names: str) -> tuple[OneLease, dict[str, tuple[LeaseLoop, Fence, Clock]]]:
    """Each replica has the one clock here: skew between machines never enters, no time is ever sent."""
    clock = Clock()
    lease = OneLease(clock)
    fences = {name: Fence(clock) for name in names}
    made = {n: (LeaseLoop(lease, f, identity=n, clock=clock, times=TIMES), f, clock) for n, f in fences.items()}
    return lease, made


def test_one_of_two_leads_and_stays() -> None:
    lease, made = replicas("a", "b")
    for _ in range(20):
        assert [loop.beat() for loop, _, _ in made.values()] == [None, None]
        lease.clock.now += 2.0
    assert [loop.is_leader for loop, _, _ in made.values()] == [True, False]
    assert set(lease.log) == {"a"}


def test_a_silent_leader_is_replaced_and_stops_when_it_wakes() -> None:
    lease, made = replicas("a", "b")
    (a, fence_a, clock), (b, fence_b, _) = made.values()
    a.beat(), b.beat()
    while not b.is_leader:
        clock.now += 2.0
        b.beat()
    assert 15.0 <= clock.now <= 17.0
    with pytest.raises(NotLeader):
        fence_a.check()
    fence_b.check()
    assert a.beat() is not None
    assert lease.record is not None
    assert (lease.record.holder, lease.record.transitions) == ("b", 2)


def test_a_leader_without_an_answer_gives_up_before_another_may_start() -> None:
    lease, made = replicas("a")
    ((a, fence, clock),) = made.values()
    a.beat()
    lease.failure = Transient("no answer")
    while (lost := a.beat()) is None:
        fence.check()
        clock.now += 2.0
    assert (lost, clock.now) == ("the lease was not renewed within 10 s", 10.0)


@pytest.mark.parametrize("answer", [Transient("no answer"), Refused("forbidden")])
def test_an_answer_that_is_none_breaks_no_loop(answer: OperatorError, caplog: pytest.LogCaptureFixture) -> None:
    lease, made = replicas("a")
    ((a, _, _),) = made.values()
    a.beat()
    lease.failure = answer
    assert a.beat() is None
    a.release()
    assert [record.message for record in caplog.records] == [str(answer)]


def test_the_deadline_counts_from_before_the_call() -> None:
    lease, made = replicas("a")
    ((a, fence, _),) = made.values()
    lease.answer_s = 4.0
    a.beat()
    assert fence.deadline == 4.0 + TIMES.renew_deadline_s


def test_a_renewal_that_is_answered_late_keeps_the_lead() -> None:
    lease, made = replicas("a")
    ((a, fence, clock),) = made.values()
    a.beat()
    clock.now, lease.answer_s = 9.0, 0.6
    assert (a.beat(), clock.now > TIMES.renew_deadline_s) == (None, True)
    fence.check()


def test_a_lease_given_back_is_free_at_once() -> None:
    _, made = replicas("a", "b")
    (a, _, _), (b, _, _) = made.values()
    a.beat(), b.beat(), a.release(), b.beat()
    assert b.is_leader


def test_a_write_whose_answer_was_lost_is_taken_up() -> None:
    lease, made = replicas("a")
    ((a, fence, _),) = made.values()
    lease.record = LeaseRecord("a", version="7")
    a.beat()
    fence.check()
    assert lease.record.version == "8"
