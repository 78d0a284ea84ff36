"""Which pod of an attempt tells of its progress, and how what it told becomes part of what was seen of the attempt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from llava_operator.backends.pod_evidence import AttemptBodies
from llava_operator.core.job import Job
from llava_operator.core.observe import AttemptState, ObservedAttempt
from llava_operator.progress import FirstPod
from llava_operator.readings import Heard, Readings

__all__ = ["Sight", "with_progress"]

Body = dict[str, Any]

_INDEX: Final = "training.kubeflow.org/replica-index"


@dataclass(frozen=True)
class Sight:
    """An attempt, and what it was judged from."""

    attempt: ObservedAttempt
    bodies: AttemptBodies

    def first_pods(self, job_uid: str) -> Iterator[tuple[FirstPod, bool]]:
        """Give the pods of rank 0 that had an address, the gone ones first, each with whether it may be asked."""
        is_running = self.attempt.state is AttemptState.RUNNING
        for pod in (*self.bodies.departed, *self.bodies.pods):
            status, meta = pod.get("status") or {}, pod["metadata"]
            if (meta.get("labels") or {}).get(_INDEX) != "0" or not status.get("podIP"):
                continue
            told = FirstPod(
                str(meta["uid"]), str(status["podIP"]), job_uid, self.attempt.stage.value, self.attempt.attempt
            )
            yield told, is_running and status.get("phase") == "Running" and pod in self.bodies.pods


def with_progress(job: Job, sights: list[Sight], readings: Readings, *, now: datetime) -> tuple[ObservedAttempt, ...]:
    """Have the first pods of running attempts asked, and add what is known of each attempt; nobody is waited for."""
    pods = [pod for sight in sights for pod in sight.first_pods(job.uid)]
    heard = readings.follow(
        job.key,
        running=[pod for pod, is_asked in pods if is_asked],
        ended=[pod for pod, is_asked in pods if not is_asked],
    )
    return tuple(_told(sight, job.uid, heard, now) for sight in sights)


def _told(sight: Sight, job_uid: str, heard: Mapping[str, Heard], now: datetime) -> ObservedAttempt:
    """Add what the latest pod of rank 0 told; what a gone one told is the last evidence of what was committed."""
    told = [heard[pod.uid] for pod, _ in sight.first_pods(job_uid)]
    if not told:
        return sight.attempt
    last = told[-1]
    progress = next((one.progress for one in reversed(told) if one.progress), None)
    moved_at = None if last.still_s is None else now - timedelta(seconds=last.still_s)
    return replace(sight.attempt, progress=progress, moved_at=moved_at, unheard=last.trouble)
