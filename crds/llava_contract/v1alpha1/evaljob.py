"""LlavaEvalJob: scores of a model that exists already."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from llava_contract import rules
from llava_contract.schema import Schema
from llava_contract.v1alpha1.evaluation import EvaluateSpec
from llava_contract.v1alpha1.model import ExportedModel
from llava_contract.v1alpha1.policy import RunPolicy
from llava_contract.v1alpha1.status import JobStatus
from llava_contract.v1alpha1.storage import StorageSpec
from llava_contract.v1alpha1.workers import WorkersSpec

__all__ = ["LlavaEvalJob", "LlavaEvalJobSpec"]


class LlavaEvalJobSpec(Schema):
    """Answer benchmark files and score the answers."""

    GIVEN_IN: ClassVar = "model"

    model: ExportedModel
    """The model to score."""
    storage: StorageSpec
    """Where answers and reports are written."""
    evaluate: EvaluateSpec
    """What to score it on."""
    workers: WorkersSpec = WorkersSpec()
    """What it runs on; one worker is used."""
    run_policy: RunPolicy = RunPolicy()
    """Suspension, restarts and time limits."""

    @property
    def given_model(self) -> ExportedModel:
        """The model that another job made: it is scored."""
        return self.model

    def given(self, model: ExportedModel) -> Self:
        """Say the same of another model."""
        return self.model_copy(update={"model": model})


class LlavaEvalJob(Schema):
    """Scores one model that exists already on benchmark files."""

    RULES: ClassVar = (rules.JOB_NAME,)

    api_version: Literal["llava.dev/v1alpha1"]
    """llava.dev/v1alpha1"""
    kind: Literal["LlavaEvalJob"]
    """LlavaEvalJob"""
    metadata: dict[str, Any]
    """Standard object metadata; the name is a DNS-1035 label of at most 30 characters."""
    spec: LlavaEvalJobSpec
    """What to do."""
    status: JobStatus | None = None
    """How it goes."""

    @property
    def name(self) -> str:
        """metadata.name; empty where it is missing."""
        return str(self.metadata.get("name", ""))
