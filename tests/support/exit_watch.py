"""Exit codes as kubelets report them: a watch on the pods of a namespace that remembers what was seen of each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from urllib3.exceptions import HTTPError

kubernetes = pytest.importorskip("kubernetes.client", reason="the operator extra is not installed: make init")
watch = pytest.importorskip("kubernetes.watch")


@dataclass
class ExitWatch:
    """Pod name to the exit code of its main container."""

    codes: dict[str, int] = field(default_factory=dict)
    resources: dict[str, dict[str, str]] = field(default_factory=dict)
    """Pod name to what its container asked for."""

    def note(self, pod: Any) -> None:
        """Take a pod as it is now."""
        self.resources[pod.metadata.name] = dict(pod.spec.containers[0].resources.limits or {})
        for status in pod.status.container_statuses or ():
            if status.state.terminated:
                self.codes[pod.metadata.name] = status.state.terminated.exit_code

    def code_of(self, name: str, attempt: int = 1, *, stage: str = "prepare") -> int | None:
        """Exit code of the first pod of a job's attempt."""
        tail = f"-{stage}-{attempt}-worker-0"
        return next(
            (code for pod, code in self.codes.items() if pod.startswith(f"{name}-") and pod.endswith(tail)), None
        )


@contextmanager
def exit_watch(api: Any, namespace: str) -> Iterator[ExitWatch]:
    """Watch from now on."""
    seen, stop = ExitWatch(), threading.Event()
    pods = kubernetes.CoreV1Api(api).list_namespaced_pod

    def follow() -> None:
        while not stop.is_set():
            with suppress(HTTPError):  # a stream that breaks is begun anew with everything there is
                for event in watch.Watch().stream(pods, namespace, timeout_seconds=5):
                    seen.note(event["object"])

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
