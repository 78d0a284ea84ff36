"""What the operator counts about itself, in Prometheus' format.

Labels are names of decisions and of errors, never of jobs: their number does not grow with the cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]


class Metrics:
    """All metrics of one process."""

    def __init__(self, *, queue_depth: Callable[[], float], is_leader: Callable[[], bool]) -> None:
        self._registry = CollectorRegistry()
        self._decisions = Counter("llava_operator_decisions", "Decisions made.", ["decision"], registry=self._registry)
        self._failures = Counter("llava_operator_failures", "Looks that failed.", ["error"], registry=self._registry)
        self._seconds = Histogram("llava_operator_reconcile_seconds", "Time of one look.", registry=self._registry)
        self._requests = Counter(
            "llava_operator_api_requests", "Requests to the API server.", ["verb", "kind"], registry=self._registry
        )
        depth = Gauge("llava_operator_queue_depth", "Keys waiting or looked at.", registry=self._registry)
        depth.set_function(queue_depth)
        leader = Gauge("llava_operator_leader", "1 when this replica leads.", registry=self._registry)
        leader.set_function(lambda: float(is_leader()))

    def timed(self) -> AbstractContextManager[object]:
        """Measure one look."""
        return self._seconds.time()

    def decided(self, decision: str) -> None:
        """Count a decision."""
        self._decisions.labels(decision).inc()

    def failed(self, error: str) -> None:
        """Count a look that failed."""
        self._failures.labels(error).inc()

    def asked(self, verb: str, kind: str) -> None:
        """Count a request to the API server, whatever came of it; verbs are those that RBAC knows."""
        self._requests.labels(verb, kind).inc()

    def text(self) -> bytes:
        """Render them all."""
        return generate_latest(self._registry)
