"""The port through which reconcile reads and writes a job, on an API server or in a directory."""

from __future__ import annotations

from typing import Protocol

from llava_contract.v1alpha1.status import JobStatus
from llava_operator.core.events import Event
from llava_operator.core.job import Job, Key

__all__ = ["Resources"]


class Resources(Protocol):
    """Where jobs live."""

    def get(self, key: Key) -> Job | None:
        """Read the job; None when there is none or it is being deleted."""
        ...

    def renew(self, key: Key) -> bool:
        """Ask anew for the job and its attempts; False where nothing is remembered and every answer is fresh."""
        ...

    def patch_status(self, job: Job, status: JobStatus) -> None:
        """Replace the status of the job that was read."""
        ...

    def emit(self, job: Job, event: Event) -> None:
        """Tell people; an event that is lost harms nothing."""
        ...
