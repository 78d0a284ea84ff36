"""The port through which reconcile starts, sees and stops attempts, whatever they run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from llava_contract.run import RunConfig
from llava_operator.core.job import Job
from llava_operator.core.observe import Observed
from llava_operator.core.plan import Plan, StagePlan

__all__ = ["Attempt", "Backend"]


@dataclass(frozen=True)
class Attempt:
    """One attempt to start: its name, what it runs on, and what it is told."""

    child: str
    plan: StagePlan
    config: RunConfig


class Backend(Protocol):
    """Whatever runs attempts."""

    def observe(self, job: Job) -> Observed:
        """See all attempts that exist for the job, other owners' leftovers in its place included."""
        ...

    def admit(self, first: Attempt, plan: Plan) -> None:
        """Return when the attempt that a job begins with, and those of its later stages, can be started here.

        Raises SpecRefused when the spec has to be mended, and Refused when something else has to change.
        """
        ...

    def start(self, attempt: Attempt) -> None:
        """Start it, or do nothing when it exists already."""
        ...

    def stop(self, child: str) -> None:
        """Ask it to leave, and force it after its grace period when asked again; never waits."""
        ...
