"""LlavaEvalJob: scores of a model that exists already."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from llava_contract import rules
from llava_contract.schema import Name, Schema, Uri
from llava_contract.v1alpha1.evaluation import EvaluateSpec
from llava_contract.v1alpha1.policy import RunPolicy
from llava_contract.v1alpha1.status import JobStatus
from llava_contract.v1alpha1.storage import StorageSpec
from llava_contract.v1alpha1.workers import WorkersSpec

__all__ = ["EvaluatedModel", "LlavaEvalJob", "LlavaEvalJobSpec"]


class EvaluatedModel(Schema):
    """The model to score: exactly one of trainJobName and uri."""

    RULES: ClassVar = (rules.ONE_MODEL, rules.MODEL_S3_SETTINGS)

    train_job_name: Name | None = None
    """A LlavaTrainJob in the same namespace whose exported model is scored, as soon as there is one."""
    uri: Uri | None = None
    """A folder that holds an exported model."""
    endpoint: Annotated[str, Field(min_length=8, max_length=512, pattern=r"^https?://\S+$")] | None = None
    """URL of the S3-compatible server that the uri lies on. Where none of endpoint, region, pathStyle and
    credentialsSecretName is written, the model is read with the settings of storage."""
    region: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Region of the model's bucket."""
    path_style: bool = False
    """Put the bucket into the path instead of the host name."""
    credentials_secret_name: Name | None = None
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for reading the model; those of storage write."""

    @property
    def names_server(self) -> bool:
        """Whether it says itself how its uri is reached."""
        return (self.endpoint, self.region, self.credentials_secret_name) != (None, None, None) or self.path_style


class LlavaEvalJobSpec(Schema):
    """Answer benchmark files and score the answers."""

    model: EvaluatedModel
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
    def scored_model(self) -> EvaluatedModel:
        """The model of somebody else that is scored."""
        return self.model


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
