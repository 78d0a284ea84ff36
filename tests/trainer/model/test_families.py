"""Every family goes the whole way: loaded, trained, saved, exported with its adapters merged, and asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llava_contract.v1alpha1.training import TuningMode
from llava_trainer.errors import Unsupported
from llava_trainer.model.export import load_export
from llava_trainer.model.generate import Prompt, Stopping, answer
from llava_trainer.model.llava import Llava
from support.tiny_model import (
    LLMS,
    TOWERS,
    full,
    lora,
    pack,
    random_pixels,
    random_row,
    tiny_llava,
    train_task,
    write_tower,
)
from support.trained import ended_job

ROWS = [random_row(12, image=True, seed=1), random_row(9, image=False, seed=2), random_row(14, image=True, seed=3)]
PROMPTS = [Prompt(tuple(ids[:7]), ("cat",) if min(ids) < 0 else ()) for ids, _ in ROWS]
PIXELS = random_pixels(2)
TUNINGS = {"lora": lora(), "full": full()}


def train(model: Llava) -> list[float]:
    """Take steps on one pack; the loss before each."""
    optimizer = torch.optim.AdamW(model.trainable().values(), lr=3e-3)
    losses = []
    model.train()
    for _ in range(4):
        loss = model(pack(ROWS, PIXELS)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def answers(model: Llava) -> list[tuple[int, ...]]:
    model.llm.use_padded_attention()
    model.eval()
    stopping = Stopping(frozenset({2}), max_new_tokens=6)
    found = answer(model, PROMPTS, read_images=lambda names: PIXELS[: len(names)], stopping=stopping, batch_size=3)
    return [tokens for _, tokens in sorted(found)]


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize(("llm", "tower"), [*((llm, "clip") for llm in LLMS), ("llama", "siglip")])
def test_a_family_goes_the_whole_way(llm: str, tower: str, tuning: str, tmp_path: Path) -> None:
    task = train_task(TUNINGS[tuning], TUNINGS[tuning])
    write_tower(tmp_path / "tower", tower)
    model = tiny_llava(tmp_path, llm, task=task)
    losses = train(model)
    assert losses == sorted(losses, reverse=True)
    job = ended_job(tmp_path, model, task, llm)
    job.convert()
    exported = load_export(job.export, dtype=torch.float32, device=torch.device("cpu"))
    assert answers(exported) == answers(model)


def test_every_tower_has_a_tiny_model() -> None:
    from llava_contract import families

    assert {family.whole_type for family in families.TOWERS} == set(TOWERS)


def test_adapters_of_a_mixtral_reach_its_attention_only(tmp_path: Path) -> None:
    model = tiny_llava(tmp_path, "mixtral", task=train_task(lora()))
    adapted = {name.split(".")[-4] for name in model.trainable() if "lora_" in name}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj"}


def test_a_mixtral_cannot_be_quantised(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"llm.mode: qlora: the experts of Mixtral"):
        tiny_llava(tmp_path, "mixtral", task=train_task(lora(mode=TuningMode.QLORA)))
