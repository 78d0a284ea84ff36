"""How many processes train and on what."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from llava_contract import rules
from llava_contract.schema import Schema, filled_by_recipe

__all__ = ["WorkersSpec"]


class WorkersSpec(Schema):
    """The gang of the training stages; prepare, convert and evaluate run on one worker."""

    RULES: ClassVar = (rules.RANKS_ON_CPUS,)

    replicas: Annotated[int, Field(ge=1, le=512)] = 1
    """Pods of the gang."""
    gpus_per_worker: Annotated[int, Field(ge=0, le=16)] = filled_by_recipe(8)
    """GPUs per pod, one rank each; 0 trains on CPUs. A recipe fills it, 8 when nothing says otherwise."""
    ranks_per_worker: Annotated[int, Field(ge=1, le=64)] | None = None
    """Ranks per pod when gpusPerWorker is 0; 1 when left out. With GPUs there is one rank a GPU."""

    @property
    def num_ranks(self) -> int:
        """World size of the training stages."""
        return self.replicas * (self.gpus_per_worker or self.ranks_per_worker or 1)
