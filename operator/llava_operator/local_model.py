"""Where a job on this machine finds the model of a training job that it names: in a folder beside its own."""

from __future__ import annotations

from pathlib import Path

from llava_contract.run import JobKind
from llava_contract.v1alpha1 import JobSpec, LlavaTrainJobSpec
from llava_contract.v1alpha1.model import ExportedModel
from llava_operator.core.given import trained_model
from llava_operator.core.job import ModelSource, kind_of
from llava_operator.core.observe import Waiting
from llava_operator.errors import ModelMissing, StateUnreadable
from llava_operator.local_resources import JobFile, read_job_file

__all__ = ["with_model_beside"]


def with_model_beside(spec: JobSpec, folder: Path) -> JobSpec:
    """Name the model by its URI; ModelMissing when no folder beside `folder` holds that job, or it has no model yet."""
    wanted = spec.given_model
    if wanted is None or wanted.train_job_name is None:
        return spec
    name = wanted.train_job_name
    where, file = _job_beside(name, folder, field=spec.GIVEN_IN)
    assert isinstance(file.spec, LlavaTrainJobSpec), f"{where} was found as a training job"
    source = ModelSource(file.status, file.spec.storage, exports=file.spec.convert is not None)
    found = trained_model(name, source)
    if isinstance(found, Waiting):
        raise ModelMissing(f"{where}: {found.message}.")
    reached = found.model_dump(exclude={"train_job_name"}, exclude_none=True)
    return spec.given(ExportedModel.model_validate(reached))


def _job_beside(name: str, folder: Path, *, field: str) -> tuple[Path, JobFile]:
    """Find the one training job of that name among the folder's neighbours."""
    beside = folder.resolve().parent
    found = [(other, file) for other in sorted(beside.glob("*/")) if (file := _training(other, name)) is not None]
    if not found:
        raise ModelMissing(
            f"no folder in {beside} holds LlavaTrainJob {name}: run it first with --dir {beside / name}, "
            f"or write {field}.uri."
        )
    if len(found) > 1:
        names = ", ".join(str(other) for other, _ in found)
        raise ModelMissing(f"more than one folder holds LlavaTrainJob {name}: {names}; write {field}.uri.")
    return found[0]


def _training(folder: Path, name: str) -> JobFile | None:
    try:
        file = read_job_file(folder)
    except StateUnreadable:
        return None
    return file if file is not None and file.name == name and kind_of(file.spec) is JobKind.TRAIN else None
