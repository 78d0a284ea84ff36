"""What pods say about an attempt: whether its gang is complete, what it waits for, and which failure came first.

Pods are the truth; what a PyTorchJob says about itself is late, partial or empty. A pure function of bodies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from llava_contract import causes
from llava_contract.result import StageResult
from llava_contract.run import Stage
from llava_operator.backends.pod_queue import is_suspended, of_this_run, queued
from llava_operator.backends.rendering import ATTEMPT, CONTAINER, STAGE
from llava_operator.core.observe import AttemptState, ObservedAttempt, Waiting

__all__ = ["AttemptBodies", "see_attempt"]

Body = dict[str, Any]

_INDEX: Final = "training.kubeflow.org/replica-index"
_FAREWELL: Final = timedelta(seconds=30)
"""How long past its grace period a pod may take to go; on a lost node it would stay for ever."""
_QUIET: Final = ("ContainerCreating", "PodInitializing", "")
"""Waiting reasons that pass by themselves."""
_PULLING: Final = ("ErrImagePull", "ImagePullBackOff")
"""The kubelet says the one while it tries and the other between tries, minute after minute: one trouble, one word."""
_STUCK_POD: Final = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")
"""Warnings that alone say why a scheduled pod does not start; its others repeat what its status says, or are old."""
_CONSEQUENCES: Final = (causes.TERMINATED.exit_code, causes.INFRASTRUCTURE.exit_code, causes.LOST.exit_code)
"""What the rest of a gang ends with because one of it failed."""


@dataclass(frozen=True)
class AttemptBodies:
    """Everything that exists of one attempt; `departed` pods are gone and known by their last body."""

    child: str
    job: Body | None
    pods: tuple[Body, ...] = ()
    departed: tuple[Body, ...] = ()
    events: tuple[Body, ...] = ()


@dataclass(frozen=True)
class Ending:
    """How one pod ended."""

    code: int
    time: datetime | None
    result: StageResult | None
    index: int

    @property
    def order(self) -> tuple[bool, datetime | None, bool, int]:
        """What came first; the clock of containers ticks in seconds, so a likely consequence goes after its cause."""
        return (self.time is None, self.time, self.code in _CONSEQUENCES, self.index)


def see_attempt(bodies: AttemptBodies, *, num_workers: int, latched: tuple[str, ...], now: datetime) -> ObservedAttempt:
    """Judge an attempt of so many workers; `latched` are the UIDs of its complete gang as status knows them."""
    labels = _labels(bodies)
    bodies = replace(
        bodies, pods=of_this_run(bodies.job, bodies.pods), departed=of_this_run(bodies.job, bodies.departed)
    )
    known = {_uid(pod): pod for pod in (*bodies.departed, *bodies.pods)}
    endings = {uid: ending for uid, pod in known.items() if (ending := _ending(pod, now))}
    living = [pod for pod in bodies.pods if _uid(pod) not in endings]
    state, ending = _judge(endings, latched, living=living, num_workers=num_workers)
    is_released = is_suspended(bodies.job) and state is not AttemptState.SUCCEEDED
    if is_released:
        # Whatever its pods end with: they were taken away, and new ones come.
        state, ending = AttemptState.PENDING, None
    gang = [_uid(pod) for pod in bodies.pods if _phase(pod) in ("Running", "Succeeded")]
    is_complete = state is AttemptState.RUNNING and not latched and len(gang) == num_workers
    is_waiting = state is AttemptState.PENDING
    return ObservedAttempt(
        bodies.child,
        Stage(labels[STAGE]),
        int(labels[ATTEMPT]),
        state=state,
        exit_code=ending.code if ending else None,
        result=ending.result if ending else None,
        members=_members(bodies, living, is_done=state is AttemptState.SUCCEEDED, now=now),
        gang=tuple(sorted(gang)) if is_complete else (),
        waiting=_waiting(bodies, living) if is_waiting else None,
        num_placed=0 if is_released else sum(map(_is_placed, living)),
        is_released=is_released,
        remains=bodies.job is not None and "deletionTimestamp" not in bodies.job["metadata"],
    )


def _judge(
    endings: dict[str, Ending], latched: tuple[str, ...], *, living: list[Body], num_workers: int
) -> tuple[AttemptState, Ending | None]:
    failures = [ending for ending in endings.values() if ending.code]
    if failures:
        return AttemptState.FAILED, min(failures, key=lambda ending: ending.order)
    present = {_uid(pod) for pod in living} | set(endings)
    if not set(latched) <= present:
        return AttemptState.FAILED, Ending(causes.LOST.exit_code, None, None, 0)
    if len(endings) >= num_workers:
        first = min(endings.values(), key=lambda ending: ending.index)
        # A success without a result made nothing that the next stage could use.
        is_whole = first.result is not None and first.result.exit_code == 0
        unexpected = Ending(causes.UNEXPECTED.exit_code, first.time, None, first.index)
        return (AttemptState.SUCCEEDED, first) if is_whole else (AttemptState.FAILED, unexpected)
    num_running = sum(_phase(pod) == "Running" for pod in living) + len(endings)
    return (AttemptState.RUNNING if latched or num_running >= num_workers else AttemptState.PENDING), None


def _ending(pod: Body, now: datetime) -> Ending | None:
    """Say how a pod ended; None while it may still do something."""
    status, index = pod.get("status") or {}, int((pod["metadata"].get("labels") or {}).get(_INDEX, 0))
    terminated = (_container(pod).get("state") or {}).get("terminated")
    disrupted = _condition(pod, "DisruptionTarget")
    if terminated:
        code, time = int(terminated["exitCode"]), _time(terminated.get("finishedAt"))
        if terminated.get("reason") == "OOMKilled":
            code = causes.OUT_OF_MEMORY.exit_code
        elif code and disrupted:
            code, time = causes.TERMINATED.exit_code, _time(disrupted.get("lastTransitionTime"))
        return Ending(code, time, _result(terminated.get("message")), index)
    if disrupted and (status.get("phase") == "Failed" or _is_overdue(pod, now)):
        return Ending(causes.TERMINATED.exit_code, _time(disrupted.get("lastTransitionTime")), None, index)
    if status.get("phase") == "Failed":
        return Ending(causes.LOST.exit_code, None, None, index)
    return None


def _members(bodies: AttemptBodies, living: list[Body], *, is_done: bool, now: datetime) -> tuple[str, ...]:
    """Count what may still act: living pods, and a PyTorchJob, which can make pods anew until it has ended itself."""
    job = [bodies.job] if bodies.job and not is_done and not _condition(bodies.job, "Failed") else []
    return tuple(_uid(body) for body in (*job, *living) if not _is_overdue(body, now))


def _is_overdue(body: Body, now: datetime) -> bool:
    leaving = _time(body["metadata"].get("deletionTimestamp"))
    return leaving is not None and now > leaving + _FAREWELL


def _waiting(bodies: AttemptBodies, living: list[Body]) -> Waiting | None:
    """Find what keeps the gang from running: a queue, a container, the scheduler, or whoever refuses to admit pods."""
    if bodies.job and is_suspended(bodies.job):
        return queued(bodies.job)
    for pod in sorted(living, key=lambda pod: str(pod["metadata"]["name"])):
        name = pod["metadata"]["name"]
        if stuck := next((one for one in _containers(pod) if _waits(one).get("reason", "") not in _QUIET), None):
            return _stuck(stuck, name if stuck["name"] == CONTAINER else f"{name}, container {stuck['name']}")
        scheduled = _condition(pod, "PodScheduled", status="False")
        if scheduled:
            return Waiting(scheduled.get("reason") or "Unschedulable", f"{name}: {scheduled.get('message', '')}")
    warnings = [event for event in bodies.events if _is_telling(event)]
    if not warnings:
        return None
    last = max(warnings, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return Waiting(str(last.get("reason") or "Warning"), str(last.get("message") or ""))


def _stuck(container: Body, name: str) -> Waiting:
    reason, told = _waits(container)["reason"], str(_waits(container).get("message") or "")
    if reason not in _PULLING:
        return Waiting(reason, f"{name}: {told or 'no reason is given'}")
    # Both halves of the kubelet's round get the same words; a half without the error says less and nothing else.
    _, was_quoted, quoted = told.partition(f"{_PULLING[0]}: ")
    error = quoted if was_quoted else told if reason == _PULLING[0] else ""
    sentence = f"{name}: image {container.get('image') or 'without a name'} cannot be pulled"
    return Waiting(_PULLING[-1], f"{sentence}: {error}" if error else sentence)


def _is_telling(event: Body) -> bool:
    is_of_pod = (event.get("involvedObject") or {}).get("kind") == "Pod"
    return event.get("type") == "Warning" and (not is_of_pod or event.get("reason") in _STUCK_POD)


def _labels(bodies: AttemptBodies) -> dict[str, str]:
    bearer = next(body for body in (bodies.job, *bodies.pods, *bodies.departed) if body)
    return dict(bearer["metadata"]["labels"])


def _uid(body: Body) -> str:
    return str(body["metadata"]["uid"])


def _phase(pod: Body) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def _is_placed(pod: Body) -> bool:
    return _phase(pod) == "Running" or bool((pod.get("spec") or {}).get("nodeName"))


def _container(pod: Body) -> Body:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return next((status for status in statuses if status["name"] == CONTAINER), {})


def _containers(pod: Body) -> list[Body]:
    """Give what is known of the pod's containers: ours first, then what somebody's webhook put in."""
    status = pod.get("status") or {}
    rows = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    return sorted(rows, key=lambda row: str(row["name"]) != CONTAINER)


def _waits(container: Body) -> Body:
    return dict((container.get("state") or {}).get("waiting") or {})


def _condition(body: Body, type_: str, *, status: str = "True") -> Body | None:
    conditions = (body.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if (one["type"], one["status"]) == (type_, status)), None)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _result(message: str | None) -> StageResult | None:
    """Read a termination message; whatever else stands there is no result."""
    try:
        return StageResult.model_validate_json(message or "")
    except ValidationError:
        return None
