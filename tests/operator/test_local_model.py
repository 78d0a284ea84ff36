"""An evaluation on this machine finds the model of a job by its name in a folder beside its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_contract.v1alpha1 import JobSpec, LlavaEvalJobSpec, LlavaTrainJobSpec
from llava_contract.v1alpha1.model import ExportedModel
from llava_contract.v1alpha1.status import JobStatus, Phase
from llava_operator.errors import ModelMissing
from llava_operator.local_model import with_model_beside
from llava_operator.local_resources import open_job
from support.evaluations import eval_spec
from support.jobs import spec


def trained(
    folder: Path, *, name: str = "tiny", model: str | None = "file:///models/a", of: JobSpec | None = None
) -> None:
    """Leave a job in a folder, with or without a model."""
    with open_job(folder, of or spec(), name=name) as resources:
        job = resources.get(resources.key)
        assert job is not None
        artifacts = {"huggingface": model} if model else {}
        phase = Phase.SUCCEEDED if model else Phase.FAILED
        resources.patch_status(job, JobStatus(phase=phase, artifacts=artifacts))


def found(root: Path) -> LlavaEvalJobSpec:
    named = with_model_beside(eval_spec(), root / "scores")
    assert isinstance(named, LlavaEvalJobSpec)
    return named


def test_the_model_is_named_by_its_uri(tmp_path: Path) -> None:
    trained(tmp_path / "any-name")
    model = found(tmp_path).model
    assert (model.uri, model.train_job_name, model.names_server) == ("file:///models/a", None, False)


def test_a_model_on_s3_is_reached_as_its_job_did(tmp_path: Path) -> None:
    storage = {"uri": "s3://bucket/tiny", "endpoint": "http://theirs:9000", "pathStyle": True}
    trained(tmp_path / "tiny", model="s3://bucket/tiny/models/huggingface", of=spec(storage=storage))
    model = found(tmp_path).model
    assert (model.endpoint, model.path_style) == ("http://theirs:9000", True)


def test_a_training_starts_from_the_model_beside(tmp_path: Path) -> None:
    trained(tmp_path / "first")
    model = {"from": {"trainJobName": "tiny"}, "promptTemplate": "vicuna"}
    named = with_model_beside(spec(model=model, pretrain=None), tmp_path / "second")
    assert named.given_model == ExportedModel(uri="file:///models/a")
    assert isinstance(named, LlavaTrainJobSpec)
    assert named.model.prompt_template == "vicuna"


def test_a_training_that_finds_no_model_is_told_its_own_field(tmp_path: Path) -> None:
    model = {"from": {"trainJobName": "tiny"}, "promptTemplate": "vicuna"}
    with pytest.raises(ModelMissing, match=r"or write model\.from\.uri\."):
        with_model_beside(spec(model=model), tmp_path / "second")


def test_a_uri_is_left_alone(tmp_path: Path) -> None:
    named = eval_spec(model={"uri": "/models/b"})
    assert with_model_beside(named, tmp_path / "scores") == named


def test_a_job_that_trains_is_left_alone(tmp_path: Path) -> None:
    assert with_model_beside(spec(), tmp_path) == spec()


@pytest.mark.parametrize("name", ["other", None])
def test_a_job_that_is_not_beside_is_asked_for(name: str | None, tmp_path: Path) -> None:
    if name:
        trained(tmp_path / "tiny", name=name)
    with pytest.raises(ModelMissing, match=f"no folder in {tmp_path} holds LlavaTrainJob tiny: run it first"):
        found(tmp_path)


def test_an_evaluation_of_that_name_is_no_training_job(tmp_path: Path) -> None:
    trained(tmp_path / "tiny", of=eval_spec(model={"uri": "/models/b"}))
    with pytest.raises(ModelMissing, match="no folder"):
        found(tmp_path)


def test_a_job_without_a_model_says_where_it_stands(tmp_path: Path) -> None:
    trained(tmp_path / "tiny", model=None)
    with pytest.raises(ModelMissing, match=r"tiny: LlavaTrainJob tiny failed before it exported a model"):
        found(tmp_path)


def test_two_jobs_of_one_name_are_told_apart_by_a_uri(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        trained(tmp_path / folder)
    with pytest.raises(ModelMissing, match=f"{tmp_path}/a, {tmp_path}/b; write model.uri"):
        found(tmp_path)


def test_a_neighbour_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/job.json").write_text("{")
    trained(tmp_path / "tiny")
    assert found(tmp_path).model.uri == "file:///models/a"
