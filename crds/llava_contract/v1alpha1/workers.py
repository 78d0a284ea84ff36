"""How many processes train and on what."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from llava_contract import rules
from llava_contract.schema import Schema, filled_by_recipe
from llava_contract.v1alpha1.pods import CacheVolume, CpuPods, PodOverlay, PodResources

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
    gpu_resource_name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")] = (
        "nvidia.com/gpu"
    )
    """Resource that a GPU is asked for by."""
    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")] | None = None
    """Trainer image; the operator's own setting when left out."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When the image is pulled; Kubernetes' own default when left out."""
    resources: PodResources = PodResources()
    """Requests and limits of the training container in pretrain, finetune and evaluate."""
    pod_template: PodOverlay = PodOverlay()
    """What is laid over the pods of pretrain, finetune and evaluate."""
    cache: CacheVolume | None = None
    """Where all pods of the job keep what they fetch from hf:// and s3:// and what they compile; a folder of each pod's
    own when left out. A volumeMount at /cache takes its place."""
    cpu: CpuPods = CpuPods()
    """The pods of prepare and convert, so that they do not land on GPU nodes."""

    @property
    def num_ranks(self) -> int:
        """World size of the training stages."""
        return self.replicas * (self.gpus_per_worker or self.ranks_per_worker or 1)
