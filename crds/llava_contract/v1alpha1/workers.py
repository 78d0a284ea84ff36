"""How many processes train and on what."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llava_contract.schema import Schema

__all__ = ["WorkersSpec"]


class WorkersSpec(Schema):
    """The gang of the training stages; prepare, convert and evaluate run on one worker."""

    replicas: Annotated[int, Field(ge=1, le=512)] = 1
    """Pods of the gang."""
    gpus_per_worker: Annotated[int, Field(ge=0, le=16)] = 8
    """GPUs per pod, one rank each; 0 trains on CPUs."""
    ranks_per_worker: Annotated[int, Field(ge=1, le=64)] | None = None
    """Ranks per pod when gpusPerWorker is 0; one rank a GPU otherwise."""
