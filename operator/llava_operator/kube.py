"""How to talk to an API server: plain calls in our nouns, and every answer that is no success as an error of ours.

Nothing else imports the Kubernetes client. Bodies go in and come out as JSON values, as the watches deliver them too.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import urllib3
from kubernetes import client, config

from llava_operator.errors import AlreadyExists, Conflict, Malformed, OperatorError, Refused, Transient

__all__ = ["PATHS", "Cluster", "connect", "verb_of"]

Body = dict[str, Any]

PATHS: Final = MappingProxyType(
    {
        "llavatrainjobs": "apis/llava.dev/v1alpha1",
        "llavaevaljobs": "apis/llava.dev/v1alpha1",
        "pytorchjobs": "apis/kubeflow.org/v1",
        "pods": "api/v1",
        "configmaps": "api/v1",
        "podtemplates": "api/v1",
        "events": "api/v1",
        "events.events.k8s.io": "apis/events.k8s.io/v1",
        "leases": "apis/coordination.k8s.io/v1",
    }
)
"""The kinds that we know, by plural, and where the API server keeps them."""

_OWNER_UID: Final = "llava.dev/owner-uid"
_MERGE: Final = "application/merge-patch+json"
_METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_PAGE: Final = 500
_BUSY: Final = (401, 408, 429)
"""Not the caller's fault: a token that is being renewed, a slow server, too many requests."""
_BAD_BODY: Final = (400, 422)


def connect(*, request_timeout_s: float = 5.0, may_write: Callable[[], None] = lambda: None) -> Cluster:
    """Reach the API server that the pod's service account, or KUBECONFIG, names; Refused when there is neither."""
    settings = client.Configuration()
    try:
        try:
            config.load_incluster_config(client_configuration=settings)
        except config.ConfigException:
            # The client reads the variable only once, when it is imported.
            config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=settings)
    except (config.ConfigException, OSError) as error:
        raise Refused(f"No API server to talk to: run in a pod or set KUBECONFIG ({error}).") from error
    settings.retries = False  # retries would outlive the deadline by which a leader has to stop
    settings.connection_pool_maxsize = 32
    return Cluster(client.ApiClient(settings), request_timeout_s=request_timeout_s, may_write=may_write)


@dataclass(frozen=True)
class Cluster:
    """One API server, spoken to by several threads.

    Every method may raise Transient; those that write call `may_write` first and may raise Refused.
    """

    api: client.ApiClient
    request_timeout_s: float
    may_write: Callable[[], None]
    on_written: Callable[[str, Body], None] = lambda _kind, _body: None
    """Gets the kind and the body that each successful write answers with."""
    on_asked: Callable[[str, str], None] = lambda _verb, _kind: None
    """Gets the verb and the kind of each request, before it is sent."""
    accept: str = "application/json"

    def read(self, kind: str, namespace: str, *, name: str) -> Body | None:
        """Read an object; None when there is none."""
        return self._call("GET", _path(kind, namespace, name), absent_is_none=True)

    def serves(self, kind: str) -> bool:
        """Say whether the API server knows the kind at all."""
        found = self._call("GET", f"/{PATHS[kind]}", absent_is_none=True)
        return found is not None and any(one["name"] == kind for one in found["resources"])

    def list_owned(self, kind: str, namespace: str, *, owner_uid: str) -> list[Body]:
        """List what bears the label of the owner, from the server's newest state."""
        return self._list(kind, namespace, labelSelector=f"{_OWNER_UID}={owner_uid}")

    def list_warnings(self, namespace: str) -> list[Body]:
        """List the Events of type Warning of a namespace."""
        return self._list("events", namespace, fieldSelector="type=Warning")

    def list_metadata(self, kind: str, namespace: str, *, label: str) -> Iterator[Body]:
        """List what bears the label, if one is named, page by page without spec and status; no namespace is all."""
        query = {"limit": str(_PAGE)} | ({"labelSelector": label} if label else {})
        while True:
            page = replace(self, accept=_METADATA)._call("GET", _path(kind, namespace), query=query)
            assert page is not None, "a list has a body"
            yield from page["items"] or ()
            if not (more := page["metadata"].get("continue")):
                return
            query = {**query, "continue": more}

    def namespace_labels(self, name: str) -> dict[str, str]:
        """Read the labels of a namespace; Refused where that is not allowed."""
        body = self._call("GET", f"/api/v1/namespaces/{name}", absent_is_none=True)
        return dict(body["metadata"].get("labels") or {}) if body else {}

    def create(self, kind: str, body: Body) -> Body:
        """Create an object in its namespace; AlreadyExists when the name is taken."""
        self.may_write()
        made = self._call("POST", _path(kind, body["metadata"]["namespace"]), body=body)
        assert made is not None, "a created object has a body"
        self.on_written(kind, made)
        return made

    def dry_run(self, kind: str, body: Body) -> tuple[str, ...]:
        """Have a creation judged and not done; gives the warnings. Malformed when a field is wrong or unknown."""
        # Without Strict an unknown field is dropped in silence.
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        judged = self._answer("POST", _path(kind, body["metadata"]["namespace"]), body=body, query=query)
        assert judged is not None, "a judged object has a body"
        return judged.warnings

    def delete(self, kind: str, namespace: str, *, name: str, uid: str) -> None:
        """Delete the object of that UID in the background; one that is not there, or is another, is left alone."""
        self.may_write()
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            self._call("DELETE", _path(kind, namespace, name), body=options, absent_is_none=True)
        except Conflict:
            return

    def replace(self, kind: str, body: Body) -> Body:
        """Put a whole object in place of the version that it names; Conflict when that is not the latest."""
        self.may_write()
        meta = body["metadata"]
        made = self._call("PUT", _path(kind, meta["namespace"], meta["name"]), body=body)
        assert made is not None, "a replaced object has a body"
        self.on_written(kind, made)
        return made

    def patch_status(self, kind: str, namespace: str, *, name: str, status: Body, version: str) -> Body:
        """Merge into the status of that resourceVersion; Conflict when it is not the latest, or the object is gone."""
        self.may_write()
        body = {"metadata": {"resourceVersion": version}, "status": status}
        made = self._call("PATCH", _path(kind, namespace, name) + "/status", body=body, absent_is_none=True)
        if made is None:
            raise Conflict(f"{kind} {name} is gone.")
        self.on_written(kind, made)
        return made

    def _list(self, kind: str, namespace: str, **query: str) -> list[Body]:
        found = self._call("GET", _path(kind, namespace), query=query)
        assert found is not None, "a list has a body"
        return list(found["items"])

    def _call(self, method: str, path: str, **rest: Any) -> Body | None:
        answer = self._answer(method, path, **rest)
        return answer.body if answer else None

    def _answer(
        self,
        method: str,
        path: str,
        *,
        body: Body | None = None,
        query: dict[str, str] | None = None,
        absent_is_none: bool = False,
    ) -> _Answer | None:
        """Make one request; None is a 404 where that is an answer."""
        self.on_asked(*verb_of(method, path))
        try:
            response = self.api.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={
                    "Accept": self.accept,
                    "Content-Type": _MERGE if method == "PATCH" else "application/json",
                },
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=self.request_timeout_s,
            )
            warnings = tuple(_warning(header) for header in response.headers.getlist("Warning"))
            return _Answer(dict(json.loads(response.data)), warnings)
        except client.ApiException as error:
            if error.status == 404 and absent_is_none:
                return None
            raise _ours(error, f"{method} {path}") from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise Transient(f"{method} {path}: no whole answer from the API server ({error}).") from error


@dataclass(frozen=True)
class _Answer:
    """A success, with what the API server has to remark about it."""

    body: Body
    warnings: tuple[str, ...]


def _warning(header: str) -> str:
    """Take the text out of `299 - "text"`, where quotes are escaped."""
    return re.sub(r"\\(.)", r"\1", header.partition('"')[2].removesuffix('"'))


def _path(kind: str, namespace: str, name: str = "") -> str:
    plural = kind.partition(".")[0]
    where = f"namespaces/{namespace}/" if namespace else ""
    return f"/{PATHS[kind]}/{where}{plural}" + (f"/{name}" if name else "")


_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def verb_of(method: str, path: str) -> tuple[str, str]:
    """Say with which verb RBAC allows the request, and for which kind; a subresource is a kind of its own."""
    where, is_namespaced, rest = path.rpartition("/namespaces/")
    words = rest.split("/")[1:] if is_namespaced else [where.rpartition("/")[2] or path.rpartition("/")[2]]
    kind = "/".join([*words[:1], *words[2:]]) or "namespaces"
    return _VERBS.get(method, "list" if len(words) == 1 else "get"), kind


def _ours(error: client.ApiException, what: str) -> OperatorError:
    """Turn an answer into an error of ours, with the API server's own sentence."""
    try:
        told = json.loads(error.body or "{}")
    except ValueError:
        told = {}
    sentence = f"{told.get('message') or error.reason or 'no answer'} ({what}, {error.status})"
    if error.status == 409:
        return AlreadyExists(sentence) if told.get("reason") == "AlreadyExists" else Conflict(sentence)
    if not error.status or error.status in _BUSY or error.status >= 500:
        return Transient(sentence)
    return Malformed(sentence) if error.status in _BAD_BODY else Refused(sentence)
