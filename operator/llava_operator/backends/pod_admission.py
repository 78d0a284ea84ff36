"""Whether a cluster would take the pods of a job: asked before anything is started, so that nothing is paid in vain.

The API server itself judges: it knows every field of a pod, and we know only the few that we render.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, Protocol

from llava_operator.backends.base import Attempt
from llava_operator.backends.rendering import PodSettings, pod_template
from llava_operator.core.plan import Plan, StagePlan
from llava_operator.errors import Malformed, Refused, SpecRefused

__all__ = ["AdmissionCalls", "Approvals", "admit_pods"]

_SAME_EVERYWHERE: Final = re.compile(r"(s3|pvc)://.|(file://)?/")
"""URIs that mean one place whatever folder a process works in."""
_INSECURE: Final = re.compile(r'would violate PodSecurity "(?P<level>\w+):')
_LEVELS: Final = ("privileged", "baseline", "restricted")
_ENFORCED: Final = "pod-security.kubernetes.io/enforce"
_JUDGED: Final = "llava-dry-run"
"""The name under which pods are judged: those that differ in names only are alike to a judge."""
_APPROVED_S: Final = 60.0


class AdmissionCalls(Protocol):
    """What is asked of an API server here."""

    def dry_run(self, kind: str, body: dict[str, Any]) -> tuple[str, ...]:
        """Have a creation judged; gives the warnings, Malformed when a field is wrong or unknown."""
        ...

    def namespace_labels(self, name: str) -> dict[str, str]:
        """Read the labels of a namespace; Refused where that is not allowed."""
        ...


class Approvals:
    """What an API server took without a word a minute ago or less: it need not judge a team's equal pods one by one.

    Who changes a quota or a level of Pod Security meanwhile sees the pods kept out, and nothing charged, as ever.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds of monotonic time."""
        self._clock, self._lock = clock, threading.Lock()
        self._until: dict[bytes, float] = {}

    def has(self, body: dict[str, Any]) -> bool:
        """Whether an equal body was taken."""
        with self._lock:
            return self._until.get(_digest(body), 0.0) > self._clock()

    def add(self, body: dict[str, Any]) -> None:
        """Remember that the body was taken."""
        now = self._clock()
        with self._lock:
            self._until = {digest: until for digest, until in self._until.items() if until > now}
            self._until[_digest(body)] = now + _APPROVED_S


def admit_pods(
    first: Attempt, plan: Plan, *, cluster: AdmissionCalls, settings: PodSettings, approvals: Approvals
) -> None:
    """Return when the cluster would take the pods of every stage; `first` is the attempt that the job begins with.

    Raises SpecRefused when the spec has to be mended, and Refused when Pod Security would keep the pods out.
    """
    uri, namespace = first.config.storage.uri, first.config.job.namespace
    if not _SAME_EVERYWHERE.match(uri):
        raise SpecRefused(
            f"spec.storage.uri: {uri} is a folder of each pod's own, and goes with it: write s3://bucket/prefix, "
            "pvc://claim/path, or file:///path where podTemplate and cpu.podTemplate mount a volume."
        )
    for planned in _unlike(plan):
        body = {
            "apiVersion": "v1",
            "kind": "PodTemplate",
            "metadata": {"name": _JUDGED, "namespace": namespace},
            "template": pod_template(_nameless(first, planned), settings),
        }
        if approvals.has(body):
            continue
        try:
            warnings = cluster.dry_run("podtemplates", body)
        except Malformed as error:
            raise SpecRefused(f"The pods of {planned.stage} cannot be made from this spec: {error}") from error
        for warning in warnings:
            if (found := _INSECURE.search(warning)) and _is_enforced(found["level"], cluster, namespace):
                raise Refused(f"Namespace {namespace} keeps out the pods of {planned.stage}: {warning}")
        if not warnings:
            approvals.add(body)


def _unlike(plan: Plan) -> Iterator[StagePlan]:
    """Give the first stage of each kind of pods that the spec describes in other words."""
    seen: list[object] = []
    for planned in plan.stages:
        if planned.pods not in seen:
            seen.append(planned.pods)
            yield planned


def _nameless(first: Attempt, planned: StagePlan) -> Attempt:
    """Give the attempt as that stage would have it, with nobody's name."""
    job = first.config.job.model_copy(update={"name": _JUDGED, "uid": _JUDGED})
    return replace(first, child=_JUDGED, plan=planned, config=first.config.model_copy(update={"job": job}))


def _digest(body: dict[str, Any]) -> bytes:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()


def _is_enforced(level: str, cluster: AdmissionCalls, namespace: str) -> bool:
    """Say whether pods that violate a level are kept out: a warning alone may be all that the namespace wants."""
    try:
        enforced = cluster.namespace_labels(namespace).get(_ENFORCED, _LEVELS[0])
    except Refused:
        # Whoever may not know starts the pods: if they are kept out, an event will say so and nothing is charged.
        return False
    return level in _LEVELS and enforced in _LEVELS[_LEVELS.index(level) :]
