"""Evaluations as the operator's core sees them, and the training jobs whose models they name."""

from __future__ import annotations

from typing import Any

from llava_contract.result import Artifact
from llava_contract.run import JobKind
from llava_contract.v1alpha1 import LlavaEvalJobSpec
from llava_contract.v1alpha1.status import JobStatus, Phase
from llava_contract.v1alpha1.storage import StorageSpec
from llava_operator.core.job import Job, Key, ModelSource

KEY = Key(JobKind.EVAL, "team", "demo")
TRAIN_STORAGE = {"uri": "s3://bucket/tiny", "endpoint": "http://theirs:9000", "credentialsSecretName": "theirs"}
EVAL_SPEC: dict[str, Any] = {
    "model": {"trainJobName": "tiny"},
    "storage": {"uri": "s3://bucket/scores", "endpoint": "http://ours:9000", "credentialsSecretName": "ours"},
    "evaluate": {"benchmarks": [{"name": "shapes", "uri": "/data/shapes.tsv"}]},
    "workers": {"gpusPerWorker": 0},
}
MODEL = "s3://bucket/tiny/models/huggingface"


def eval_spec(**changes: Any) -> LlavaEvalJobSpec:
    return LlavaEvalJobSpec.model_validate({**EVAL_SPEC, **changes})


def source(
    phase: Phase = Phase.SUCCEEDED, *, model: str | None = None, stage: str | None = None, exports: bool = True
) -> ModelSource:
    """Return a training job as an evaluation sees it."""
    artifacts = {Artifact.HUGGINGFACE.value: model} if model else {}
    status = JobStatus(phase=phase, current_stage=stage, artifacts=artifacts)
    return ModelSource(status, StorageSpec.model_validate(TRAIN_STORAGE), exports=exports)


DONE = source(model=MODEL)


def evaluation(from_job: ModelSource | None = None, *, status: JobStatus | None = None, **changes: Any) -> Job:
    """Return an evaluation beside that training job, or without one."""
    return Job(KEY, uid="e1", generation=1, spec=eval_spec(**changes), status=status or JobStatus(), source=from_job)
