"""What a training stage is called where curves of many jobs lie side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llava_contract.run import RunConfig

__all__ = ["RunIdentity"]


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """A stage of a job, the same in all its attempts."""

    id: str
    """Made from the job's UID: a job of the same name that comes later is another run."""
    name: str
    """For people."""
    settings: Mapping[str, Any]
    """The stage's task, as the run file has it."""

    @classmethod
    def of(cls, config: RunConfig) -> RunIdentity:
        """Name the stage of a run file."""
        job = config.job
        settings = config.task.model_dump(mode="json", exclude={"tracking"})
        return cls(f"{job.uid}-{config.stage}", f"{job.namespace}/{job.name}/{config.stage}", settings)
