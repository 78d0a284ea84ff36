"""`llava run` of a job that trains the model of another further: what comes out is that model, a little changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llava_contract.v1alpha1.status import JobStatus, Phase
from llava_operator.local_resources import open_job
from support.jobs import spec
from support.tiny_model import lora, train_task
from support.trained import trained_job
from support.whole_job import running, stage, write_job, write_rows

FURTHER = {"maxSteps": 2, "learningRate": 1e-4, "llm": {"mode": "lora", "lora": {"rank": 4, "alpha": 8}}}


@pytest.fixture(scope="module")
def further(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of everything, and the status in which the second job ended."""
    home = tmp_path_factory.mktemp("further")
    job = trained_job(home / "parts", train_task(lora()))
    job.convert()
    with open_job(home / "first", spec(), name="tiny") as resources:
        first = resources.get(resources.key)
        assert first is not None
        resources.patch_status(first, JobStatus(phase=Phase.SUCCEEDED, artifacts={"huggingface": job.export.as_uri()}))
    model = {"from": {"trainJobName": "tiny"}, "promptTemplate": "vicuna"}
    data = write_rows(home / "data")
    file = write_job(home / "second.yaml", model=model, finetune=stage(data, **FURTHER), convert={"dtype": "fp32"})
    with running(file, home / "second") as run:
        return home, run.end()


def test_it_needs_no_pretrain(further: tuple[Path, dict[str, Any]]) -> None:
    assert [stage["name"] for stage in further[1]["stages"]] == ["prepare", "finetune", "convert"]


def test_status_says_where_it_started(further: tuple[Path, dict[str, Any]]) -> None:
    home, status = further
    assert status["model"]["uri"] == (home / "parts/job/models/huggingface").as_uri()


def test_what_it_exports_is_the_first_model_a_little_changed(further: tuple[Path, dict[str, Any]]) -> None:
    home, status = further
    files = [home / place / "models/huggingface/model.safetensors" for place in ("parts/job", "second")]
    before, after = (load_file(file) for file in files)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == {"language_model", "multi_modal_projector"}
    assert all(torch.allclose(before[name], after[name], atol=2e-3) for name in before)
    assert json.loads((files[1].parent / "llava.json").read_text())["llm"] == status["model"]["uri"]
