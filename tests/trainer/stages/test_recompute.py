"""Activations that are computed anew: the same training to the bit, with less kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llava_contract.v1alpha1.training import DeepspeedSpec, LoraSettings, TuningMode, TuningSpec
from llava_trainer.data.batch import Batch
from support.tiny_model import LLMS, full, lora, pack, random_pixels, random_row, tiny_llava, train_task
from support.training_job import TinyJob, losses, start

pytestmark = pytest.mark.timeout(600)

DROPOUT = TuningSpec(mode=TuningMode.LORA, lora=LoraSettings(rank=4, alpha=8, dropout=0.1))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TinyJob:
    return TinyJob.write(tmp_path_factory.mktemp("job"))


@pytest.mark.parametrize("stage", [2, 3])
def test_a_gang_trains_as_it_would_have_kept_everything(job: TinyJob, tmp_path: Path, stage: int) -> None:
    traces = []
    for recomputes in (False, True):
        folder = tmp_path / str(recomputes)
        config = job.config(
            folder / "storage", llm=DROPOUT, vision_tower=DROPOUT, gradient_checkpointing=recomputes,
            deepspeed=DeepspeedSpec(zero_stage=stage),
        )  # fmt: skip
        ended = start(config, folder / "attempt").wait()
        assert ended.code == 0, ended.log
        traces.append(losses(folder / "storage"))
    assert traces[0] == traces[1]


def batch() -> Batch:
    return pack([random_row(12, image=True, seed=1), random_row(9, image=False, seed=2)], random_pixels(1))


def kept_and_gradients(folder: Path, family: str, *, recomputes: bool) -> tuple[int, dict[str, torch.Tensor]]:
    """How many numbers a forward pass keeps for the backward pass, parameters left out, and what that gives."""
    tuning = full() if family == "mixtral" else lora()
    task = train_task(tuning, lora(), gradient_checkpointing=recomputes)
    model = tiny_llava(folder, family, task=task).train()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = 0

    def note(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel() if tensor.untyped_storage().data_ptr() not in own else 0
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = model(batch()).sum()
    loss.backward()
    return kept, {name: p.grad for name, p in model.trainable().items() if p.grad is not None}


@pytest.mark.parametrize("family", LLMS)
def test_every_family_keeps_less_and_has_the_same_gradients(tmp_path: Path, family: str) -> None:
    many, want = kept_and_gradients(tmp_path, family, recomputes=False)
    few, found = kept_and_gradients(tmp_path, family, recomputes=True)
    assert few < many / 2
    assert want.keys() == found.keys()
    assert all(torch.equal(want[name], found[name]) for name in want)
