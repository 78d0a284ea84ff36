"""What the operator does on an API server, as RBAC says it: the chart grants this, and nothing else."""

from __future__ import annotations

_WATCHED = frozenset({"list", "watch"})

JOBS: dict[tuple[str, str], frozenset[str]] = {
    ("llava.dev", "llavatrainjobs"): _WATCHED | {"get"},
    ("llava.dev", "llavaevaljobs"): _WATCHED | {"get"},
    ("llava.dev", "llavatrainjobs/status"): frozenset({"patch"}),
    ("llava.dev", "llavaevaljobs/status"): frozenset({"patch"}),
    ("kubeflow.org", "pytorchjobs"): _WATCHED | {"get", "create", "delete"},
    ("", "pods"): _WATCHED,
    ("", "configmaps"): frozenset({"get", "create", "delete"}),
    ("", "podtemplates"): frozenset({"create"}),
    ("", "namespaces"): frozenset({"get"}),
    ("", "events"): frozenset({"list"}),
    ("events.k8s.io", "events"): frozenset({"create"}),
}
"""Wherever it works, by group and resource."""

LEASE: dict[tuple[str, str], frozenset[str]] = {
    ("coordination.k8s.io", "leases"): frozenset({"create", "get", "update"}),
}
"""In its own namespace."""
