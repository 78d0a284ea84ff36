"""Which model of another job an evaluation scores or a training starts from, or what to wait for until there is one.

Once its first attempt has begun, a job keeps the model that status names: the training job that made it may be deleted,
or made anew under the same name, and neither changes what is being scored or trained.
"""

from __future__ import annotations

from llava_contract.conditions import Reason
from llava_contract.result import Artifact
from llava_contract.run import MODEL_ENV_PREFIX, ModelStorage
from llava_contract.v1alpha1.model import ExportedModel
from llava_contract.v1alpha1.status import GivenModel, Phase
from llava_contract.v1alpha1.storage import StorageSpec
from llava_operator.core.job import Job, ModelSource
from llava_operator.core.observe import Waiting

__all__ = ["model_of", "model_secret", "model_storage", "trained_model"]


def model_of(job: Job) -> GivenModel | Waiting | None:
    """Find the model that a job was given, or say why there is none yet; None for jobs that were given none."""
    wanted, known = job.spec.given_model, job.status.model
    if wanted is None:
        return None
    if wanted.uri is not None:
        return _reached(wanted.uri, wanted if wanted.names_server else job.spec.storage)
    assert wanted.train_job_name is not None, "a model has a name or a uri"
    if known and known.train_job_name == wanted.train_job_name and job.status.start_time is not None:
        return known
    if job.source is None:
        told = f"there is no LlavaTrainJob {wanted.train_job_name} in namespace {job.key.namespace}"
        return Waiting(Reason.MODEL_NOT_FOUND, f"{told}: create it, or write {job.spec.GIVEN_IN}.uri")
    return trained_model(wanted.train_job_name, job.source)


def trained_model(name: str, source: ModelSource) -> GivenModel | Waiting:
    """Take the model that a training job exported, or say where that job stands."""
    uri = source.status.artifacts.get(Artifact.HUGGINGFACE)
    if uri is not None:
        return _reached(uri, source.storage).model_copy(update={"train_job_name": name})
    if not source.exports:
        return Waiting(
            Reason.MODEL_NOT_EXPORTED, f"LlavaTrainJob {name} exports no model: add convert: {{}} to its spec"
        )
    if source.status.phase is Phase.FAILED:
        return Waiting(Reason.MODEL_FAILED, f"LlavaTrainJob {name} failed before it exported a model: mend it first")
    stage = source.status.current_stage
    where = f"{source.status.phase} in {stage}" if stage else f"{source.status.phase}"
    return Waiting(Reason.MODEL_NOT_READY, f"LlavaTrainJob {name} has not exported its model yet: it is {where}")


def _reached(uri: str, server: ExportedModel | StorageSpec) -> GivenModel:
    if not uri.startswith("s3://"):
        return GivenModel(uri=uri)
    return GivenModel(
        uri=uri,
        endpoint=server.endpoint,
        region=server.region,
        path_style=server.path_style,
        credentials_secret_name=server.credentials_secret_name,
    )


def model_secret(model: GivenModel | None, storage: StorageSpec) -> str | None:
    """Name the Secret that only the model is read with; None when the storage's own serves for both."""
    secret = model.credentials_secret_name if model else None
    return None if secret == storage.credentials_secret_name else secret


def model_storage(model: GivenModel | None, storage: StorageSpec) -> ModelStorage | None:
    """Say how a model is reached; None when it is reached as the storage is."""
    if model is None or not model.uri.startswith("s3://"):
        return None
    env_prefix = MODEL_ENV_PREFIX if model_secret(model, storage) else ""
    server = (model.endpoint, model.region, model.path_style)
    if not env_prefix and server == (storage.endpoint, storage.region, storage.path_style):
        return None
    return ModelStorage(
        uri=model.uri, endpoint=model.endpoint, region=model.region, path_style=model.path_style, env_prefix=env_prefix
    )
