"""The nouns Key and Job: a resource as the core sees it, whatever keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from llava_contract.run import JobKind
from llava_contract.v1alpha1.status import JobStatus
from llava_contract.v1alpha1.trainjob import LlavaTrainJobSpec

__all__ = ["Job", "Key"]


@dataclass(frozen=True, order=True)
class Key:
    """Which job."""

    kind: JobKind
    namespace: str
    name: str


@dataclass(frozen=True)
class Job:
    """A job with its effective spec (recipes expanded) and the status last written."""

    key: Key
    uid: str
    generation: int
    spec: LlavaTrainJobSpec
    status: JobStatus
    version: str = ""
    """Which state of the resource this is, for whoever keeps several; empty where nobody else writes."""
