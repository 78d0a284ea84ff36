"""Jobs as resources of an API server: read whole, their status patched by version, events told beside them.

A spec that the API server admitted and the contract refuses becomes a condition here, and no job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from pydantic import ValidationError

from llava_contract.conditions import ConditionType, Reason
from llava_contract.problems import InvalidJob
from llava_contract.run import JobKind
from llava_contract.v1alpha1 import JobSpec, LlavaTrainJobSpec
from llava_contract.v1alpha1.status import JobStatus
from llava_contract.v1alpha1.storage import StorageSpec
from llava_contract.validate import effective_spec, read_job, validate_body
from llava_operator.core.conditions import Word
from llava_operator.core.events import Event, refusal_event
from llava_operator.core.job import Job, Key, ModelSource
from llava_operator.core.status import held_up, spec_refused
from llava_operator.errors import InvalidSpec, OperatorError, SpecRefused

__all__ = ["ClusterResources", "ResourceCalls", "merge_patch"]

Body = dict[str, Any]

_CONTROLLER: Final = "llava.dev/operator"
_MAX_NOTE: Final = 1024


class ResourceCalls(Protocol):
    """What is asked of an API server here."""

    def read(self, kind: str, namespace: str, *, name: str) -> Body | None:
        """Read an object; None when there is none."""
        ...

    def create(self, kind: str, body: Body) -> Body:
        """Create an object."""
        ...

    def patch_status(self, kind: str, namespace: str, *, name: str, status: Body, version: str) -> Body:
        """Merge into the status of that version; Conflict when it is not the latest."""
        ...


class ClusterResources:
    """The resource port over the API server."""

    def __init__(
        self,
        cluster: ResourceCalls,
        *,
        renew: Callable[[Key], bool] = lambda _: False,
        identity: str = "llava-operator",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`renew` asks anew for what `cluster` remembers; one that remembers nothing has nothing to renew."""
        self._cluster, self._renew, self._identity, self._clock = cluster, renew, identity, clock

    def get(self, key: Key) -> Job | None:
        """Read the job; None when there is none, it is being deleted, or its spec is refused, as status then says."""
        body = self._cluster.read(key.kind.plural, key.namespace, name=key.name)
        if body is None or "deletionTimestamp" in body["metadata"]:
            return None
        status = JobStatus.model_validate(body.get("status") or {})
        try:
            spec = effective_spec(read_job({**body, "status": None}).spec)
        except (ValidationError, InvalidJob):
            self._refuse_spec(key, body, status)
            return None
        meta = body["metadata"]
        return Job(
            key,
            uid=meta["uid"],
            generation=meta["generation"],
            spec=spec,
            status=status,
            version=meta["resourceVersion"],
            source=self._source(key.namespace, spec),
        )

    def renew(self, key: Key) -> bool:
        """Ask anew for the job and its attempts."""
        return self._renew(key)

    def patch_status(self, job: Job, status: JobStatus) -> None:
        """Write what changed in the status of the job that was read; Conflict when somebody wrote in between."""
        self._write(job.key, job.status, status, version=job.version)

    def refuse(self, key: Key, error: OperatorError) -> None:
        """Say in status that the API server, or the spec, does not let the job go on; it waits for either to change."""
        job = self.get(key)
        if job is None:
            return
        generation, now = job.generation, self._clock()
        if isinstance(error, SpecRefused):
            after = spec_refused(job.status, str(error), generation=generation, now=now)
        else:
            reason = Reason.SPEC_INCOMPLETE if isinstance(error, InvalidSpec) else Reason.REFUSED
            word = Word(ConditionType.READY, reason, str(error))
            after = held_up(job.status, word, generation=generation, now=now)
        self.patch_status(job, after)
        if isinstance(error, SpecRefused):
            self._tell(job.key, job.uid, refusal_event(job.status, str(error)))

    def emit(self, job: Job, event: Event) -> None:
        """Create an Event about the job, but for routine; one that cannot be written is lost."""
        self._tell(job.key, job.uid, event)

    def _tell(self, key: Key, uid: str, event: Event) -> None:
        if event.is_routine:
            return
        # The same words about a job are one object, however often they are said.
        identity = "\n".join((uid, event.reason, event.message))
        body: Body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{key.name}.{hashlib.sha256(identity.encode()).hexdigest()[:16]}",
                "namespace": key.namespace,
            },
            "regarding": {
                "apiVersion": "llava.dev/v1alpha1",
                "kind": key.kind.value,
                "namespace": key.namespace,
                "name": key.name,
                "uid": uid,
            },
            "type": "Warning" if event.is_warning else "Normal",
            "reason": event.reason,
            "action": event.reason,
            "note": _cut(event.message),
            "eventTime": self._clock().isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "reportingController": _CONTROLLER,
            "reportingInstance": self._identity[:128],
        }
        try:
            self._cluster.create("events.events.k8s.io", body)
        except OperatorError:
            return

    def _source(self, namespace: str, spec: JobSpec) -> ModelSource | None:
        """Look at the training job whose model the spec asks for."""
        wanted = spec.given_model
        if wanted is None or wanted.train_job_name is None:
            return None
        body = self._cluster.read(JobKind.TRAIN.plural, namespace, name=wanted.train_job_name)
        return None if body is None else _model_source(body)

    def _refuse_spec(self, key: Key, body: Body, status: JobStatus) -> None:
        """Write why once."""
        told = [str(problem) for problem in validate_body({name: body[name] for name in body if name != "status"})]
        why = "\n".join(told) or "the spec is not valid"
        after = spec_refused(status, why, generation=body["metadata"]["generation"], now=self._clock())
        self._write(key, status, after, version=body["metadata"]["resourceVersion"])
        self._tell(key, body["metadata"]["uid"], refusal_event(status, why))

    def _write(self, key: Key, before: JobStatus, after: JobStatus, *, version: str) -> None:
        patch = merge_patch(_dumped(before), _dumped(after))
        if patch:
            self._cluster.patch_status(key.kind.plural, key.namespace, name=key.name, status=patch, version=version)


def merge_patch(before: Body, after: Body) -> Body:
    """Say what has to be merged into `before` to make it `after`: null removes, lists are replaced."""
    patch: Body = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := merge_patch(old, value):
                patch[name] = inner
        elif name not in before or old != value:
            patch[name] = value
    return patch


def _model_source(body: Body) -> ModelSource:
    """Read what another job has to know of a training job, be its spec refused or not."""
    try:
        spec = effective_spec(read_job({**body, "status": None}).spec)
        exports = isinstance(spec, LlavaTrainJobSpec) and spec.convert is not None
    except (ValidationError, InvalidJob):
        exports = True  # its own status says what is wrong with it
    status, storage = body.get("status") or {}, body["spec"]["storage"]
    return ModelSource(JobStatus.model_validate(status), StorageSpec.model_validate(storage), exports=exports)


def _dumped(status: JobStatus) -> Body:
    """Write what there is to say: an empty list is nothing to read."""
    body = status.model_dump(mode="json", exclude_none=True)
    body["stages"] = [_said(stage) for stage in body["stages"]]
    return _said(body)


def _said(body: Body) -> Body:
    return {name: value for name, value in body.items() if value not in ([], {}, "")}


def _cut(message: str) -> str:
    """Keep a note within what the API server takes, counted in bytes."""
    return message.encode()[:_MAX_NOTE].decode(errors="ignore")
