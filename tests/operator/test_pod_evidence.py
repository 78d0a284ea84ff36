"""What is read from pods: the gang, what it waits for, and the failure that came first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from llava_contract.run import Stage
from llava_operator.backends.pod_evidence import AttemptBodies, see_attempt
from llava_operator.core.observe import AttemptState, ObservedAttempt, Waiting
from support.jobs import NOON, result
from support.pods import CHILD, Pod, pod, pytorch_job

BOTH = ("pod-0", "pod-1")
OF_POD: dict[str, Any] = {"type": "Warning", "involvedObject": {"kind": "Pod"}}
DONE = result(Stage.FINETUNE, artifacts={"finetuneWeights": "/w"})
NAN = result(Stage.FINETUNE, exit_code=77, reason="Diverged", message="row 7 of a.json")


def ended_job(how: str) -> dict[str, Any]:
    return {**pytorch_job(), "status": {"conditions": [{"type": how, "status": "True"}]}}


def see(*pods: Pod, departed: tuple[Pod, ...] = (), latched: tuple[str, ...] = (), **rest: Any) -> ObservedAttempt:
    bodies = AttemptBodies(
        CHILD,
        rest.pop("job", pytorch_job()),
        tuple(one.body() for one in pods),
        tuple(one.body() for one in departed),
        rest.pop("events", ()),
    )
    return see_attempt(bodies, num_workers=2, latched=latched, now=NOON)


def test_the_attempt_is_named_by_its_labels() -> None:
    seen = see()
    assert (seen.child, seen.stage, seen.attempt) == (CHILD, "finetune", 1)


@pytest.mark.parametrize(
    ("pods", "latched", "want"),
    [
        ((), (), AttemptState.PENDING),
        ((pod(0).running(),), (), AttemptState.PENDING),
        ((pod(0).running(), pod(1)), (), AttemptState.PENDING),
        ((pod(0).running(), pod(1).running()), (), AttemptState.RUNNING),
        ((pod(0).running(), pod(1).running()), BOTH, AttemptState.RUNNING),
        ((pod(0).ended(0, said=DONE), pod(1).running()), BOTH, AttemptState.RUNNING),
        ((pod(0).ended(0, said=DONE), pod(1).ended(0)), BOTH, AttemptState.SUCCEEDED),
        ((pod(0).ended(0, said=DONE), pod(1).ended(0)), (), AttemptState.SUCCEEDED),
        ((pod(0).running(), pod(1).ended(77)), BOTH, AttemptState.FAILED),
        ((pod(0).running(),), BOTH, AttemptState.FAILED),
        ((), BOTH, AttemptState.FAILED),
    ],
)
def test_pods_say_where_an_attempt_stands(pods: tuple[Pod, ...], latched: tuple[str, ...], want: AttemptState) -> None:
    assert see(*pods, latched=latched).state is want


def test_the_gang_is_told_once_it_is_complete() -> None:
    assert see(pod(0).running(), pod(1)).gang == ()
    assert see(pod(0).running(), pod(1).running()).gang == BOTH


CODES = [1, 2, *range(10, 20), 74, 75, 76, 77, 130, 137, 143]


@pytest.mark.parametrize("code", CODES)
def test_every_exit_code_arrives_unchanged(code: int) -> None:
    assert see(pod(0).running(), pod(1).ended(code), latched=BOTH).exit_code == code


@pytest.mark.parametrize(
    ("pods", "code"),
    [
        ((pod(0).ended(75, at_s=5), pod(1).ended(77, at_s=3)), 77),
        ((pod(0).ended(75, at_s=3), pod(1).ended(77, at_s=3)), 77),
        ((pod(0).ended(143, at_s=3), pod(1).ended(1, at_s=3)), 1),
        ((pod(0).ended(75, at_s=2), pod(1).ended(77, at_s=3)), 75),
        ((pod(0).ended(137, reason="OOMKilled"), pod(1).running()), 76),
        ((pod(0).ended(137).disrupted(at_s=-9), pod(1).ended(75, at_s=-5)), 143),
        ((pod(0).ended(0).disrupted(), pod(1).ended(12)), 12),
        ((pod(0).evicted_unseen().disrupted(), pod(1).running()), 143),
        ((pod(0).evicted_unseen(), pod(1).running()), -1),
        ((pod(0).evicted_unseen(), pod(1).ended(75)), 75),
        ((pod(0).running(),), -1),
        ((pod(0).running(), pod(1).running().replaced("other")), -1),
        ((pod(0).ended(0), pod(1).ended(0)), 1),
        ((pod(0).running().disrupted().leaves(at=NOON - timedelta(seconds=31)), pod(1).running()), 143),
    ],
)
def test_the_earliest_failure_is_the_cause(pods: tuple[Pod, ...], code: int) -> None:
    assert see(*pods, latched=BOTH).exit_code == code


def test_a_drained_pod_may_save_first() -> None:
    leaving = pod(0).running().disrupted().leaves(at=NOON + timedelta(seconds=60))
    assert see(leaving, pod(1).running(), latched=BOTH).state is AttemptState.RUNNING


def test_a_pod_that_is_gone_still_says_how_it_ended() -> None:
    seen = see(pod(0).running(), departed=(pod(1).ended(77, said=NAN),), latched=BOTH)
    assert (seen.exit_code, seen.result) == (77, NAN)


def test_the_failing_pod_speaks_for_the_attempt() -> None:
    assert see(pod(0).ended(75, at_s=4), pod(1).ended(77, at_s=1, said=NAN), latched=BOTH).result == NAN


def test_the_first_rank_speaks_for_a_success() -> None:
    assert see(pod(1).ended(0, said=NAN), pod(0).ended(0, said=DONE), latched=BOTH).result == DONE


@pytest.mark.parametrize(
    ("pods", "events", "want"),
    [
        ((pod(0).waits("ContainerCreating"),), (), None),
        ((pod(0).running(), pod(1).waits("CreateContainerConfigError", "secret x")), (),
         ("CreateContainerConfigError", "secret x")),
        ((pod(0).unschedulable("0/3 nodes have nvidia.com/gpu"),), (), ("Unschedulable", "0/3 nodes")),
        ((), ({"type": "Warning", "reason": "FailedCreatePod", "message": "exceeded quota: q"},),
         ("FailedCreatePod", "exceeded quota")),
        ((), ({"type": "Normal", "reason": "Created", "message": ""},), None),
        ((pod(0),), ({**OF_POD, "reason": "FailedMount", "message": "secret nope"},), ("FailedMount", "secret nope")),
        ((pod(0),), ({**OF_POD, "reason": "FailedScheduling", "message": "old news"},), None),
    ],
)  # fmt: skip
def test_a_pending_gang_says_what_it_waits_for(
    pods: tuple[Pod, ...], events: tuple[dict[str, str], ...], want: tuple[str, str] | None
) -> None:
    waiting = see(*pods, events=events).waiting
    assert (waiting and waiting.reason) == (want and want[0])
    assert want is None or (waiting and want[1] in waiting.message)


PULL_ERROR = 'failed to pull and unpack image "x:1": not found'


@pytest.mark.parametrize(
    "half",
    [("ErrImagePull", PULL_ERROR), ("ImagePullBackOff", f'Back-off pulling image "x:1": ErrImagePull: {PULL_ERROR}')],
)
def test_both_halves_of_a_pull_that_fails_are_one_trouble(half: tuple[str, str]) -> None:
    waiting = see(pod(0).waits(*half, image="x:1")).waiting
    assert waiting == Waiting("ImagePullBackOff", f"{pod(0).name}: image x:1 cannot be pulled: {PULL_ERROR}")


def test_a_half_without_an_error_says_less_and_nothing_else() -> None:
    told, less = (
        see(pod(0).waits(*half, image="x:1")).waiting
        for half in (("ErrImagePull", PULL_ERROR), ("ImagePullBackOff", 'Back-off pulling image "x:1"'))
    )
    assert told
    assert less
    assert told.message.startswith(less.message)


def test_pods_that_have_their_place_are_counted() -> None:
    assert see(pod(0).running(), pod(1).unschedulable("no GPU")).num_placed == 1
    assert see(pod(0).placed(), pod(1).placed()).num_placed == 2
    assert see(pod(0).ended(0, said=DONE), pod(1)).num_placed == 0


@pytest.mark.parametrize(
    ("pods", "job", "members"),
    [
        ((pod(0).running(), pod(1).ended(1)), pytorch_job(), ("job-uid", "pod-0")),
        ((pod(0).running(), pod(1).ended(1)), ended_job("Failed"), ("pod-0",)),
        ((pod(1).ended(1),), ended_job("Failed"), ()),
        ((pod(0).ended(0, said=DONE), pod(1).ended(0)), pytorch_job(), ()),
        ((pod(0).running(),), None, ("pod-0",)),
        ((pod(0).running().leaves(at=NOON - timedelta(seconds=29)),), None, ("pod-0",)),
        ((pod(0).running().leaves(at=NOON - timedelta(seconds=31)),), None, ()),
    ],
)
def test_members_are_what_may_still_act(
    pods: tuple[Pod, ...], job: dict[str, Any] | None, members: tuple[str, ...]
) -> None:
    assert see(*pods, job=job).members == members


@pytest.mark.parametrize(
    ("job", "want"), [(None, False), (pytorch_job(), True), (pytorch_job(deletionTimestamp=NOON.isoformat()), False)]
)
def test_only_a_pytorch_job_that_is_not_leaving_remains(job: dict[str, Any] | None, want: bool) -> None:
    assert see(pod(0).ended(12), job=job).remains is want


def test_a_new_attempt_waits_for_old_pods_until_half_a_minute_past_their_grace_period() -> None:
    def members(s_past: float) -> tuple[str, ...]:
        leaving = pod(0).running().leaves(at=NOON - timedelta(seconds=s_past))
        return see(leaving, pod(1).evicted_unseen(), job=None).members

    assert [members(s_past) for s_past in (-120, 30, 31)] == [("pod-0",), ("pod-0",), ()]


@pytest.mark.parametrize("field", ["containerStatuses", "initContainerStatuses"])
def test_a_container_that_a_webhook_put_in_is_named(field: str) -> None:
    body = pod(0).waits("PodInitializing").body()
    stuck = {"name": "proxy", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}}
    body["status"].setdefault(field, []).append(stuck)
    seen = see_attempt(AttemptBodies(CHILD, pytorch_job(), (body,)), num_workers=2, latched=(), now=NOON)
    assert seen.waiting == Waiting("CrashLoopBackOff", f"{pod(0).name}, container proxy: back-off 10s")
