"""What of a body is ever read: a thousand jobs with all their children have to fit into a small container.

Most of a PyTorchJob and of a pod is the template that we wrote ourselves, and most of any object is who manages which
field. Words that all bodies use are kept once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["trimmed"]

_UNREAD: Final = ("managedFields", "annotations", "ownerReferences", "generateName", "selfLink")
_OF_POD: Final = ("nodeName",)
_OF_WORKER: Final = ("replicas",)


def trimmed(plural: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what nobody reads; of users' resources everything stays but the list of who manages which field."""
    kept = {**body, "metadata": _without(body["metadata"], _UNREAD if plural in _SPECS else _UNREAD[:1])}
    if plural in _SPECS and "spec" in body:
        kept["spec"] = _SPECS[plural](body["spec"])
    shared = _shared(kept)
    assert isinstance(shared, dict), f"a body is a mapping, not {type(shared)}"
    return shared


def _pod(spec: Mapping[str, Any]) -> dict[str, Any]:
    return _only(spec, _OF_POD)


def _pytorch_job(spec: Mapping[str, Any]) -> dict[str, Any]:
    roles = spec.get("pytorchReplicaSpecs") or {}
    return {
        **_only(spec, ("runPolicy",)),
        "pytorchReplicaSpecs": {role: _only(replicas, _OF_WORKER) for role, replicas in roles.items()},
    }


_SPECS: Final = {"pods": _pod, "pytorchjobs": _pytorch_job}


def _only(value: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value}


def _without(value: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: inner for name, inner in value.items() if name not in names}


def _shared(value: Any) -> Any:
    """Copy a JSON value with equal strings as one object: each decoded body brings its own."""
    if isinstance(value, dict):
        return {sys.intern(name): _shared(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shared(inner) for inner in value]
    return sys.intern(value) if type(value) is str else value
