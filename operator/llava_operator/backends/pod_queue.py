"""What a queue does with a PyTorchJob: holds it back, takes its pods away, and lets it go again with new ones.

Kueue does it through runPolicy.suspend, which nobody else may touch: what is flipped against it is flipped back.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from llava_operator.core.observe import Waiting

__all__ = ["QUEUE_NAME", "is_suspended", "of_this_run", "queued"]

Body = dict[str, Any]

QUEUE_NAME: Final = "kueue.x-k8s.io/queue-name"
"""Label by which a PyTorchJob names its LocalQueue; Kueue's webhook then suspends it before anything is made."""


def is_suspended(job: Body | None) -> bool:
    """Say whether the PyTorchJob has to do without pods, or has been let go and does not know it yet."""
    if job is None:
        return False
    is_asked = bool((job.get("spec", {}).get("runPolicy") or {}).get("suspend"))
    return is_asked or _suspended_condition(job).get("status") == "True"


def queued(job: Body) -> Waiting:
    """Say what a suspended PyTorchJob waits for."""
    name, queue = job["metadata"]["name"], (job["metadata"].get("labels") or {}).get(QUEUE_NAME)
    if queue is None:
        return Waiting("PyTorchJobSuspended", f"PyTorchJob {name} was suspended by hand, not by its job: let it go")
    return Waiting("Queued", f"queue {queue} has not admitted PyTorchJob {name}; its Workload says why")


def of_this_run(job: Body | None, pods: tuple[Body, ...]) -> tuple[Body, ...]:
    """Leave out the pods that were taken away before the PyTorchJob was let go last."""
    condition = _suspended_condition(job) if job else {}
    if condition.get("status") != "False":
        return pods
    resumed = datetime.fromisoformat(condition["lastTransitionTime"])
    return tuple(pod for pod in pods if datetime.fromisoformat(pod["metadata"]["creationTimestamp"]) >= resumed)


def _suspended_condition(job: Body) -> Body:
    conditions: list[Body] = (job.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == "Suspended"), {})
