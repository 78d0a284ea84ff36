"""What may stay of attempts that nobody wants any more: what tells why the job failed, and nothing that can act."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from llava_contract import causes
from llava_contract.v1alpha1.status import Phase
from llava_operator.core.decide import decide
from llava_operator.core.decision import Decision, Fail, Rest, Situation, StartAttempt, StopAttempt, Wait
from llava_operator.core.observe import AttemptState, Observed, ObservedAttempt
from llava_operator.core.plan import plan_job
from support.jobs import NOON, JobBuilder, job

PODS = ("job-uid", "pod-0")


def ended(builder: JobBuilder, seen: ObservedAttempt, *, s_ago: float, ttl_s: int | None = None) -> Decision:
    """Decide about a job that ended so long ago and of which one attempt is there."""
    built = builder.wanting(runPolicy={"ttlSecondsAfterFinished": ttl_s}).build()
    status = built.status.model_copy(update={"completion_time": NOON - timedelta(seconds=s_ago)})
    return decide(Situation(plan_job(built), status, Observed((seen,)), NOON))


def failed(*, members: tuple[str, ...] = (), remains: bool = True, exit_code: int = 12) -> ObservedAttempt:
    seen = job().failed(exit=exit_code, members=members).seen
    assert seen is not None
    return replace(seen, remains=remains)


@pytest.mark.parametrize(
    ("seen", "s_ago", "want"),
    [
        (failed(), 0, Rest()),
        (failed(), 9999, Rest()),
        (failed(members=PODS), 5, Wait(NOON + timedelta(seconds=10))),
        (failed(members=PODS), 15, StopAttempt(job().child)),
        (failed(members=("7",), remains=False), 0, StopAttempt(job().child)),
        (replace(failed(), state=AttemptState.RUNNING, members=PODS), 0, StopAttempt(job().child)),
        (replace(failed(), child="an-earlier-one"), 0, StopAttempt("an-earlier-one")),
    ],
    ids=["at rest", "long at rest", "settling", "not settling", "nobody ends it", "not ended", "another attempt"],
)
def test_the_attempt_that_a_job_failed_with_stays_once_nothing_of_it_can_act(
    seen: ObservedAttempt, s_ago: float, want: Decision
) -> None:
    assert ended(job().over(Phase.FAILED), seen, s_ago=s_ago) == want


def test_what_a_success_left_behind_stays() -> None:
    seen = job().succeeded().seen
    assert seen is not None
    assert ended(job().over(Phase.SUCCEEDED), replace(seen, remains=True), s_ago=9999) == Rest()


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.FAILED])
@pytest.mark.parametrize(
    ("s_ago", "want"), [(59, Wait(NOON + timedelta(seconds=1))), (60, StopAttempt(job().child)), (61, None)]
)
def test_everything_goes_after_the_time_that_the_owner_gave(phase: Phase, s_ago: float, want: Decision | None) -> None:
    seen = failed() if phase is Phase.FAILED else replace(failed(), state=AttemptState.SUCCEEDED)
    got = ended(job().over(phase), seen if want else replace(seen, remains=False), s_ago=s_ago, ttl_s=60)
    assert got == (want or Rest())


def test_a_failed_attempt_that_is_followed_by_another_is_removed_first() -> None:
    restarting = job().after(75).restarting(failed_s_ago=60)
    assert replace(restarting, seen=failed()).decision() == StopAttempt(job().child)
    assert isinstance(replace(restarting, seen=failed(remains=False)).decision(), StartAttempt)


@pytest.mark.parametrize(("exit_code", "is_kept"), [(12, True), (causes.LOST.exit_code, False)])
def test_only_an_attempt_that_ended_by_itself_has_something_to_tell(exit_code: int, is_kept: bool) -> None:
    decision = job().after(75, 75, 75).failed(exit=exit_code).decision()
    assert isinstance(decision, Fail)
    assert (decision.child is None) is is_kept
