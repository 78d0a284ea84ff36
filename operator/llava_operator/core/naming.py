"""Child names: a function of a job's identity, a stage and an attempt, so that two operators always agree on one."""

from __future__ import annotations

import hashlib

from llava_contract.run import Stage

__all__ = ["MAX_CHILD_NAME", "child_name"]

MAX_CHILD_NAME = 50
"""The Training Operator appends `-worker-<index>` and a pod name must stay a DNS label of 63 characters."""


def child_name(name: str, uid: str, *, stage: Stage, attempt: int) -> str:
    """Name a child `<name>-<8 hex of the UID's hash>-<stage>-<attempt>`; a name that does not fit is cut."""
    identity = hashlib.sha256(uid.encode()).hexdigest()[:8]
    tail = f"-{identity}-{stage}-{attempt}"
    return name[: MAX_CHILD_NAME - len(tail)].rstrip("-") + tail
