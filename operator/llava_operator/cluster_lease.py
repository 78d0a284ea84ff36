"""The Lease object of coordination.k8s.io: which fields of it mean what."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from llava_operator.errors import AlreadyExists, Conflict
from llava_operator.lease import LeaseRecord, LeaseTimes

__all__ = ["ClusterLease", "LeaseCalls"]

Body = dict[str, Any]


class LeaseCalls(Protocol):
    """What is asked of an API server here; no fence stands before these calls, they are how one comes to lead."""

    def read(self, kind: str, namespace: str, *, name: str) -> Body | None:
        """Read an object; None when there is none."""
        ...

    def create(self, kind: str, body: Body) -> Body:
        """Create an object; AlreadyExists when the name is taken."""
        ...

    def replace(self, kind: str, body: Body) -> Body:
        """Replace the version that the body names; Conflict when it is not the latest."""
        ...


class ClusterLease:
    """One Lease on an API server."""

    def __init__(
        self,
        cluster: LeaseCalls,
        namespace: str,
        *,
        name: str,
        times: LeaseTimes,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, name
        self._times, self._clock = times, clock

    def read(self) -> LeaseRecord | None:
        """Read who holds it; None when there is none. Raises Transient."""
        body = self._cluster.read("leases", self._namespace, name=self._name)
        return _record(body) if body else None

    def write(self, record: LeaseRecord) -> LeaseRecord:
        """Replace the version that the record names, or create it when it names none. Raises Conflict, Transient."""
        body = self._body(record)
        if record.version:
            return _record(self._cluster.replace("leases", body))
        try:
            return _record(self._cluster.create("leases", body))
        except AlreadyExists as error:
            raise Conflict(f"another replica made the Lease {self._name} first") from error

    def _body(self, record: LeaseRecord) -> Body:
        version = {"resourceVersion": record.version} if record.version else {}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace, **version},
            "spec": {
                "holderIdentity": record.holder,
                "leaseDurationSeconds": int(self._times.duration_s),
                "leaseTransitions": record.transitions,
                # For people only: no replica compares another's clock with its own.
                "renewTime": self._clock().isoformat(timespec="microseconds").replace("+00:00", "Z"),
            },
        }


def _record(body: Body) -> LeaseRecord:
    spec = body.get("spec") or {}
    return LeaseRecord(
        holder=spec.get("holderIdentity") or "",
        version=str(body["metadata"]["resourceVersion"]),
        transitions=int(spec.get("leaseTransitions") or 0),
    )
