"""An API server in memory for the backend: objects by kind and name, every call counted."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from llava_operator.errors import AlreadyExists, Conflict


class FakeCluster:
    """Keeps what was created; `calls` is what was asked, in order."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.judged: list[dict[str, Any]] = []
        self.verdict: tuple[str, ...] | Exception = ()
        self.labels: dict[str, str] | Exception = {}

    def put(self, kind: str, body: dict[str, Any]) -> None:
        self.objects[kind, body["metadata"]["name"]] = body

    def read(self, kind: str, namespace: str, *, name: str) -> dict[str, Any] | None:  # noqa: ARG002
        self.calls.append(f"read {kind}")
        return self.objects.get((kind, name))

    def list_owned(self, kind: str, namespace: str, *, owner_uid: str) -> list[dict[str, Any]]:  # noqa: ARG002
        self.calls.append(f"list {kind}")
        owned = [body for (k, _), body in self.objects.items() if k == kind]
        return [body for body in owned if body["metadata"]["labels"]["llava.dev/owner-uid"] == owner_uid]

    def list_warnings(self, namespace: str) -> list[dict[str, Any]]:  # noqa: ARG002
        self.calls.append("list events")
        return self.events

    def create(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(f"create {kind}")
        name = body["metadata"]["name"]
        if (kind, name) in self.objects:
            raise AlreadyExists(f"{kind} {name} exists")
        made = deepcopy(body)
        made["metadata"]["uid"] = f"{kind}-{name}"
        self.put(kind, made)
        return made

    def dry_run(self, kind: str, body: dict[str, Any]) -> tuple[str, ...]:
        self.calls.append(f"judge {kind}")
        self.judged.append(body)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict

    def namespace_labels(self, name: str) -> dict[str, str]:
        self.calls.append(f"read namespace {name}")
        if isinstance(self.labels, Exception):
            raise self.labels
        return self.labels

    def delete(self, kind: str, namespace: str, *, name: str, uid: str) -> None:  # noqa: ARG002
        self.calls.append(f"delete {kind} {uid}")
        self.objects.pop((kind, name), None)

    def patch_status(
        self,
        kind: str,
        namespace: str,  # noqa: ARG002
        *,
        name: str,
        status: dict[str, Any],
        version: str,
    ) -> dict[str, Any]:
        self.calls.append(f"patch {kind}")
        body = self.objects[kind, name]
        if body["metadata"]["resourceVersion"] != version:
            raise Conflict(f"{name} is not at {version}")
        body["metadata"]["resourceVersion"] = str(int(version) + 1)
        body["status"] = merged(body.get("status") or {}, status)
        return body


def merged(value: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Apply a JSON merge patch."""
    result = {name: inner for name, inner in value.items() if patch.get(name, inner) is not None}
    for name, inner in patch.items():
        if isinstance(inner, dict):
            result[name] = merged(result.get(name) or {}, inner)
        elif inner is not None:
            result[name] = inner
    return result
