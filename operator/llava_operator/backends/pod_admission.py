"""Whether a cluster would take the pods of a job: asked before anything is started, so that nothing is paid in vain.

The API server itself judges: it knows every field of a pod, and we know only the few that we render.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, Protocol

from llava_operator.backends.base import Attempt
from llava_operator.backends.rendering import PodSettings, pod_template
from llava_operator.core.plan import Plan
from llava_operator.errors import Malformed, Refused, SpecRefused

__all__ = ["AdmissionCalls", "admit_pods"]

_SAME_EVERYWHERE: Final = re.compile(r"(s3|pvc)://.|(file://)?/")
"""URIs that mean one place whatever folder a process works in."""
_INSECURE: Final = re.compile(r'would violate PodSecurity "(?P<level>\w+):')
_LEVELS: Final = ("privileged", "baseline", "restricted")
_ENFORCED: Final = "pod-security.kubernetes.io/enforce"


class AdmissionCalls(Protocol):
    """What is asked of an API server here."""

    def dry_run(self, kind: str, body: dict[str, Any]) -> tuple[str, ...]:
        """Have a creation judged; gives the warnings, Malformed when a field is wrong or unknown."""
        ...

    def namespace_labels(self, name: str) -> dict[str, str]:
        """Read the labels of a namespace; Refused where that is not allowed."""
        ...


def admit_pods(first: Attempt, plan: Plan, *, cluster: AdmissionCalls, settings: PodSettings) -> None:
    """Return when the cluster would take the pods of every stage; `first` is the attempt that the job begins with.

    Raises SpecRefused when the spec has to be mended, and Refused when Pod Security would keep the pods out.
    """
    uri, namespace = first.config.storage.uri, first.config.job.namespace
    if not _SAME_EVERYWHERE.match(uri):
        raise SpecRefused(
            f"spec.storage.uri: {uri} is a folder of each pod's own, and goes with it: write s3://bucket/prefix, "
            "pvc://claim/path, or file:///path where podTemplate and cpu.podTemplate mount a volume."
        )
    for attempt in _unlike(first, plan):
        body = {
            "apiVersion": "v1",
            "kind": "PodTemplate",
            "metadata": {"name": attempt.child, "namespace": namespace},
            "template": pod_template(attempt, settings),
        }
        try:
            warnings = cluster.dry_run("podtemplates", body)
        except Malformed as error:
            raise SpecRefused(f"The pods of {attempt.plan.stage} cannot be made from this spec: {error}") from error
        for warning in warnings:
            if (found := _INSECURE.search(warning)) and _is_enforced(found["level"], cluster, namespace):
                raise Refused(f"Namespace {namespace} keeps out the pods of {attempt.plan.stage}: {warning}")


def _unlike(first: Attempt, plan: Plan) -> Iterator[Attempt]:
    """Give the first attempt as each stage would have it whose pods the spec describes in other words."""
    seen: list[object] = []
    for planned in plan.stages:
        if planned.pods not in seen:
            seen.append(planned.pods)
            yield replace(first, plan=planned)


def _is_enforced(level: str, cluster: AdmissionCalls, namespace: str) -> bool:
    """Say whether pods that violate a level are kept out: a warning alone may be all that the namespace wants."""
    try:
        enforced = cluster.namespace_labels(namespace).get(_ENFORCED, _LEVELS[0])
    except Refused:
        # Whoever may not know starts the pods: if they are kept out, an event will say so and nothing is charged.
        return False
    return level in _LEVELS and enforced in _LEVELS[_LEVELS.index(level) :]
