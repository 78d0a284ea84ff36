"""The nouns Key and Job: a resource as the core sees it, whatever keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from llava_contract.run import JobKind
from llava_contract.v1alpha1 import JobSpec, LlavaEvalJobSpec
from llava_contract.v1alpha1.status import JobStatus
from llava_contract.v1alpha1.storage import StorageSpec

__all__ = ["Job", "Key", "ModelSource", "kind_of"]


@dataclass(frozen=True, order=True)
class Key:
    """Which job."""

    kind: JobKind
    namespace: str
    name: str


@dataclass(frozen=True)
class ModelSource:
    """What a job sees of the training job that it names."""

    status: JobStatus
    storage: StorageSpec
    exports: bool
    """Whether its spec asks for an exported model at all."""


@dataclass(frozen=True)
class Job:
    """A job with its effective spec (recipes expanded) and the status last written."""

    key: Key
    uid: str
    generation: int
    spec: JobSpec
    status: JobStatus
    version: str = ""
    """Which state of the resource this is, for whoever keeps several; empty where nobody else writes."""
    source: ModelSource | None = None
    """The training job whose model this one takes; None when there is none of that name."""


def kind_of(spec: JobSpec) -> JobKind:
    """Tell a job's kind by its spec."""
    return JobKind.EVAL if isinstance(spec, LlavaEvalJobSpec) else JobKind.TRAIN
