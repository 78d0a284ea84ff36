"""Attempts as PyTorchJobs of a cluster: made, seen and deleted by name, owned by the job's UID."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from llava_operator.backends.base import Attempt
from llava_operator.backends.pod_admission import AdmissionCalls, Approvals, admit_pods
from llava_operator.backends.pod_evidence import AttemptBodies, see_attempt
from llava_operator.backends.pod_places import outside
from llava_operator.backends.pod_progress import Sight, with_progress
from llava_operator.backends.pod_warnings import PodWarnings
from llava_operator.backends.rendering import ATTEMPT, OWNER_UID, STAGE, PodSettings, render
from llava_operator.core.job import Job
from llava_operator.core.observe import AttemptState, Observed, ObservedAttempt
from llava_operator.core.plan import Plan, plan_job
from llava_operator.errors import AlreadyExists, Refused
from llava_operator.readings import Readings

__all__ = ["Children", "ClusterCalls", "Family", "PyTorchJobBackend"]

Body = dict[str, Any]
_OF_ATTEMPT = "training.kubeflow.org/job-name"


class ClusterCalls(AdmissionCalls, Protocol):
    """What is asked of an API server here."""

    def read(self, kind: str, namespace: str, *, name: str) -> Body | None:
        """Read an object; None when there is none."""
        ...

    def list_owned(self, kind: str, namespace: str, *, owner_uid: str) -> list[Body]:
        """List what belongs to a job."""
        ...

    def create(self, kind: str, body: Body) -> Body:
        """Create an object; AlreadyExists when the name is taken."""
        ...

    def delete(self, kind: str, namespace: str, *, name: str, uid: str) -> None:
        """Delete the object of that UID in the background."""
        ...


@dataclass(frozen=True)
class Family:
    """The children of a job as somebody saw them; `departed` pods are gone and known by their last body."""

    jobs: tuple[Body, ...]
    pods: tuple[Body, ...]
    departed: tuple[Body, ...] = ()


Children = Callable[[Job], Family]
"""Sees the children of a job."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class PyTorchJobBackend:
    """The backend port over the API server, in one namespace."""

    cluster: ClusterCalls
    namespace: str
    settings: PodSettings = field(kw_only=True)
    warnings: PodWarnings = field(kw_only=True)
    """Shared by all who ask the same API server, as approvals are."""
    children: Children | None = None
    """Sees a job's children, and pods that are gone too; without it they are listed anew each time."""
    progress: Readings | None = None
    """Asks pods how far they are; without it nobody does."""
    approvals: Approvals = field(default_factory=lambda: Approvals(time.monotonic))
    """Pods that were taken lately."""
    clock: Callable[[], datetime] = _now

    def observe(self, job: Job) -> Observed:
        """See all attempts of which anything exists, or of which a pod left evidence."""
        family = (self.children or self._listed)(job)
        jobs = {str(body["metadata"]["name"]): body for body in family.jobs}
        pods, departed = _by_attempt(family.pods), _by_attempt(family.departed)
        attempts = [
            AttemptBodies(child, jobs.get(child), tuple(pods.get(child, ())), tuple(departed.get(child, ())))
            for child in sorted({*jobs, *pods, *departed})
        ]
        seen_all = (Sight(self._see(job, bodies), bodies) for bodies in attempts)
        sights = [sight for sight in seen_all if not _is_nothing(sight)]
        seen = tuple(sight.attempt for sight in sights)
        if self.progress is not None:
            seen = with_progress(job, sights, self.progress, now=self.clock())
        on_claim = job.spec.storage.uri.startswith("pvc://")
        return Observed(tuple(map(_outside, seen)) if on_claim else seen)

    def admit(self, first: Attempt, plan: Plan) -> None:
        """Ask the API server about the pods of all stages; SpecRefused and Refused carry its sentence."""
        admit_pods(first, plan, cluster=self.cluster, settings=self.settings, approvals=self.approvals)

    def start(self, attempt: Attempt) -> None:
        """Create the run file and then the gang; what exists already is adopted if it is this job's."""
        rendered = render(attempt, self.settings)
        self._create("configmaps", rendered.config_map)
        self._create("pytorchjobs", rendered.pytorch_job)

    def stop(self, child: str) -> None:
        """Delete the gang and its run file; the kubelet sends SIGTERM and, after the grace period, SIGKILL."""
        for kind in ("pytorchjobs", "configmaps"):
            body = self.cluster.read(kind, self.namespace, name=child)
            if body and "deletionTimestamp" not in body["metadata"] and OWNER_UID in body["metadata"].get("labels", {}):
                self.cluster.delete(kind, self.namespace, name=child, uid=body["metadata"]["uid"])

    def _listed(self, job: Job) -> Family:
        jobs, pods = (self.cluster.list_owned(kind, self.namespace, owner_uid=job.uid) for kind in _CHILD_KINDS)
        return Family(tuple(jobs), tuple(pods))

    def _see(self, job: Job, bodies: AttemptBodies) -> ObservedAttempt:
        planned = {planned.stage: planned.num_workers for planned in plan_job(job).stages}
        bearer = next(body for body in (bodies.job, *bodies.pods, *bodies.departed) if body)
        stage = next((one for one in job.status.stages if one.job_name == bodies.child), None)
        latched = tuple(stage.pods) if stage else ()
        size = _num_workers(bodies.job) or planned.get(bearer["metadata"]["labels"]["llava.dev/stage"], 1)
        seen = see_attempt(bodies, num_workers=size, latched=latched, now=self.clock())
        silent = _silent(bodies, size) if seen.state is AttemptState.PENDING and not seen.waiting else None
        if silent is None or _is_newborn(silent, self.clock()):
            return seen
        # Only an event says why pods are not made (quota, Pod Security) or do not start (a missing Secret).
        told = replace(bodies, events=self.warnings.about(self.namespace, str(silent["metadata"]["uid"])))
        return see_attempt(told, num_workers=size, latched=latched, now=self.clock())

    def _create(self, kind: str, body: Body) -> None:
        try:
            self.cluster.create(kind, body)
        except AlreadyExists as error:
            name, uid = body["metadata"]["name"], body["metadata"]["labels"][OWNER_UID]
            found = self.cluster.read(kind, self.namespace, name=name)
            if found is not None and (found["metadata"].get("labels") or {}).get(OWNER_UID) != uid:
                raise Refused(f"{kind} {name} is there and is not this job's: delete it or rename the job.") from error


_NEWBORN = timedelta(seconds=2)
_CHILD_KINDS = ("pytorchjobs", "pods")


def _is_nothing(sight: Sight) -> bool:
    """Whether it was taken away before it began and left no evidence: it does not wait, it has to be made again."""
    is_gone = sight.bodies.job is None and not sight.bodies.pods
    return is_gone and sight.attempt.state is AttemptState.PENDING


def _outside(attempt: ObservedAttempt) -> ObservedAttempt:
    """Name what the attempt made as other jobs can reach it."""
    return replace(
        attempt,
        result=outside(attempt.result) if attempt.result else None,
        progress=outside(attempt.progress) if attempt.progress else None,
    )


def _num_workers(job: Body | None) -> int | None:
    if job is None:
        return None
    return int(job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"])


def _silent(bodies: AttemptBodies, size: int) -> Body | None:
    """Find whom events may speak for: the PyTorchJob while pods are missing, then the first pod that does not run."""
    if len(bodies.pods) < size:
        return bodies.job
    return next((pod for pod in bodies.pods if (pod.get("status") or {}).get("phase") == "Pending"), None)


def _is_newborn(body: Body, now: datetime) -> bool:
    """Whether nothing can be wrong yet: the next look, 3 s from now, is early enough to ask. Clocks may differ."""
    made = body["metadata"].get("creationTimestamp")
    return made is not None and timedelta(0) <= now - datetime.fromisoformat(made) < _NEWBORN


def _by_attempt(pods: tuple[Body, ...]) -> dict[str, list[Body]]:
    grouped: dict[str, list[Body]] = {}
    for pod in pods:
        # A pod that bears an owner's label and was made by somebody else is no member of any gang.
        if {_OF_ATTEMPT, STAGE, ATTEMPT} <= pod["metadata"]["labels"].keys():
            grouped.setdefault(str(pod["metadata"]["labels"][_OF_ATTEMPT]), []).append(pod)
    return grouped
