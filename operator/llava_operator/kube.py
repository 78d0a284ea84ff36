"""How to talk to an API server: plain calls in our nouns, and every answer that is no success as an error of ours.

Nothing else imports the Kubernetes client. Bodies go in and come out as JSON values, as the watches deliver them too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import urllib3
from kubernetes import client, config

from llava_operator.errors import AlreadyExists, Conflict, OperatorError, Refused, Transient

__all__ = ["PATHS", "Cluster", "connect"]

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
_BUSY: Final = (401, 408, 429)
"""Not the caller's fault: a token that is being renewed, a slow server, too many requests."""


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

    def read(self, kind: str, namespace: str, *, name: str) -> Body | None:
        """Read an object; None when there is none."""
        return self._call("GET", _path(kind, namespace, name), absent_is_none=True)

    def list_owned(self, kind: str, namespace: str, *, owner_uid: str) -> list[Body]:
        """List what bears the label of the owner, from the server's newest state."""
        return self._list(kind, namespace, labelSelector=f"{_OWNER_UID}={owner_uid}")

    def list_events(self, namespace: str, *, regarding_uid: str) -> list[Body]:
        """List what was told about an object."""
        return self._list("events", namespace, fieldSelector=f"involvedObject.uid={regarding_uid}")

    def create(self, kind: str, body: Body, *, is_dry_run: bool = False) -> Body:
        """Create an object in its namespace; AlreadyExists when the name is taken."""
        self.may_write()
        query = {"dryRun": "All"} if is_dry_run else {}
        made = self._call("POST", _path(kind, body["metadata"]["namespace"]), body=body, query=query)
        assert made is not None, "a created object has a body"
        return made

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
        return made

    def patch_status(self, kind: str, namespace: str, *, name: str, status: Body, version: str) -> Body:
        """Merge into the status of that resourceVersion; Conflict when it is not the latest."""
        self.may_write()
        body = {"metadata": {"resourceVersion": version}, "status": status}
        made = self._call("PATCH", _path(kind, namespace, name) + "/status", body=body)
        assert made is not None, "a patched object has a body"
        return made

    def _list(self, kind: str, namespace: str, **query: str) -> list[Body]:
        found = self._call("GET", _path(kind, namespace), query=query)
        assert found is not None, "a list has a body"
        return list(found["items"])

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Body | None = None,
        query: dict[str, str] | None = None,
        absent_is_none: bool = False,
    ) -> Body | None:
        """Make one request; None is a 404 where that is an answer."""
        try:
            response = self.api.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={
                    "Accept": "application/json",
                    "Content-Type": _MERGE if method == "PATCH" else "application/json",
                },
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=self.request_timeout_s,
            )
            return dict(json.loads(response.data))
        except client.ApiException as error:
            if error.status == 404 and absent_is_none:
                return None
            raise _ours(error, f"{method} {path}") from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise Transient(f"{method} {path}: no whole answer from the API server ({error}).") from error


def _path(kind: str, namespace: str, name: str = "") -> str:
    plural = kind.partition(".")[0]
    return f"/{PATHS[kind]}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


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
    return Refused(sentence)
