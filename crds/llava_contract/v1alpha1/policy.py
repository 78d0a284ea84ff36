"""How long a job may run and how often it may fail."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llava_contract.schema import Name, Schema

__all__ = ["RunPolicy"]


class RunPolicy(Schema):
    """Limits of a job."""

    suspend: bool = False
    """Stop the job and keep its checkpoints; set to false to go on."""
    max_restarts: Annotated[int, Field(ge=0, le=1000)] = 3
    """Charged restarts over all stages before the job fails; preemptions are not charged."""
    active_deadline_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = None
    """Fail the job when it has run this long."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """Remove the pods and run files of a job this long after it ended, and their logs with them; what it wrote to its
    storage stays. Left out, they stay until the job is deleted."""
    queue_name: Name | None = None
    """LocalQueue of Kueue, in the job's namespace, that admits the pods of every attempt; a preempted attempt goes on
    from its newest checkpoint and is not charged. Left out, nothing waits for a queue."""
    hang_timeout_seconds: Annotated[int, Field(ge=30, le=86_400)] = 1800
    """A training rank that makes no step for this long is a hang: the gang is restarted."""
