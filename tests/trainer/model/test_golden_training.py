"""Our forward and backward equal the first update of XTuner's own training code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llava_contract.run import ModelParts
from llava_trainer.data.batch import Batch
from llava_trainer.data.sample import IMAGE
from llava_trainer.model.build import build_model
from llava_trainer.model.llava import Llava
from support.golden import golden
from support.tiny_model import frozen, full, lora, pack, train_task

pytestmark = pytest.mark.golden
CASES = {
    "pretrain": (frozen(), frozen()), "finetune_full": (full(), frozen()), "finetune_lora": (lora(8), lora(4)),
}  # fmt: skip


def ours(name: str) -> str:
    """XTuner's name of a parameter as ours."""
    name = name.replace("visual_encoder.", "vision_tower.").replace("vision_tower.vision_model.", "vision_tower.model.")
    name = name.replace("vision_tower.base_model.model.vision_model.", "vision_tower.model.")
    return name.replace("llm.base_model.model.", "llm.")


def build(case: str) -> tuple[Llava, Path, dict[str, Any]]:
    folder = golden("training") / case
    trace = json.loads((folder / "trace.json").read_text())
    config = trace["config"]
    parts = ModelParts(
        llm="llm", vision_tower="clip", prompt_template="vicuna", projector_depth=2, vision_feature_layer=-2
    )
    task = train_task(*CASES[case], model=parts)
    folders = {"tower_folder": folder.parent / config["visual_encoder"], "llm_folder": folder.parent / config["llm"]}
    model = build_model(task, **folders, dtype=torch.float32, device=torch.device("cpu"))
    start = {ours(name): tensor for name, tensor in load_file(folder / "init.safetensors").items()}
    with torch.no_grad():
        for name, parameter in model.trainable().items():
            parameter.copy_(start.get(name, parameter))
    return model, folder, trace


def first_batch(folder: Path, trace: dict[str, Any]) -> Batch:
    collated = trace["step0"]["collated"]
    rows = []
    for ids, labels, mask in zip(collated["input_ids"], collated["labels"], collated["attention_mask"], strict=True):
        length = sum(mask)
        rows.append((ids[:length], labels[:length]))
    pixels = load_file(folder / "step0_tensors.safetensors")["pixel_values"]
    seen = [IMAGE in ids for ids, _ in rows]
    return pack(rows, pixels[torch.tensor(seen)], patches=16)


@pytest.mark.parametrize("case", CASES)
def test_first_loss_equals_xtuners(case: str) -> None:
    model, folder, trace = build(case)
    first = trace["iterations"][0]
    loss = model(first_batch(folder, trace)) / first["label_tokens"]
    assert loss.item() == pytest.approx(first["loss"], abs=5e-6)


@pytest.mark.parametrize("case", CASES)
def test_first_gradients_equal_xtuners(case: str) -> None:
    model, folder, trace = build(case)
    (model(first_batch(folder, trace)) / trace["iterations"][0]["label_tokens"]).backward()
    want = {ours(k): v for k, v in load_file(folder / "grads_update0_before_clip.safetensors").items()}
    for name, parameter in model.trainable().items():
        torch.testing.assert_close(parameter.grad, want.pop(name), rtol=1e-4, atol=1e-6, msg=name)
    assert not any(gradient.any() for gradient in want.values())  # what is left had no part in the loss
