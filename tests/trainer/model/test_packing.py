"""Packed training equals training one sequence at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llava_trainer.data.sample import IGNORE, IMAGE
from llava_trainer.model.llava import Llava
from support.tiny_model import LLMS, full, pack, random_pixels, random_row, tiny_llava, train_task

ROWS = [(12, True), (7, False), (19, True), (3, False), (16, True)]


def packed_loss(model: Llava) -> torch.Tensor:
    rows = [random_row(length, image=image, seed=length) for length, image in ROWS]
    return model(pack(rows, random_pixels(3))).sum()


def unpacked_loss(model: Llava) -> torch.Tensor:
    """The slow and simple way: transformers' own attention, one sequence in a batch, all logits."""
    model.llm.use_padded_attention()
    pixels = iter(random_pixels(3).split(1))
    losses = [one_sequence_loss(model, length, next(pixels) if image else None) for length, image in ROWS]
    model.llm.use_packed_attention()
    return torch.stack(losses).sum()


def one_sequence_loss(model: Llava, length: int, pixels: torch.Tensor | None) -> torch.Tensor:
    batch = pack([random_row(length, image=pixels is not None, seed=length)], pixels)
    embeddings = model.llm.embed(batch.tokens_T)
    if pixels is not None:
        embeddings[batch.image_slots_N] = model.encode_images(pixels)[0]
    hidden = model.llm.model(inputs_embeds=embeddings[None]).last_hidden_state[0]
    logits = model.llm.lm_head.logits(hidden[:-1])
    return torch.nn.functional.cross_entropy(logits, batch.labels_T[1:], ignore_index=IGNORE, reduction="sum")


def gradients(model: Llava, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    parameters = model.trainable()
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


@pytest.mark.parametrize("family", LLMS)
def test_a_pack_equals_its_sequences_one_by_one(family: str, tmp_path: Path) -> None:
    model = tiny_llava(tmp_path, family, task=train_task(llm=full(), tower=full()))
    packed, unpacked = packed_loss(model), unpacked_loss(model)
    torch.testing.assert_close(packed, unpacked, rtol=1e-6, atol=1e-5)
    for name, (ours, want) in zip_named(gradients(model, packed), gradients(model, unpacked)):
        torch.testing.assert_close(ours, want, rtol=1e-5, atol=1e-5, msg=name)


def zip_named(
    ours: dict[str, torch.Tensor], want: dict[str, torch.Tensor]
) -> list[tuple[str, tuple[torch.Tensor, torch.Tensor]]]:
    return [(name, (ours[name], want[name])) for name in want]


def test_packed_attention_refuses_to_run_without_bounds(tmp_path: Path) -> None:
    model = tiny_llava(tmp_path)
    with pytest.raises(ValueError, match="cu_seqlens"):
        model.llm.model(input_ids=torch.ones(1, 4, dtype=torch.int64))


def test_two_images_of_a_row_are_seen_in_their_order(tmp_path: Path) -> None:
    model = tiny_llava(tmp_path)
    row = ([1, IMAGE, 5, IMAGE, 6, 7], [IGNORE] * 4 + [6, 7])
    there, back = (model(pack([row], pixels)).sum() for pixels in (random_pixels(2), random_pixels(2).flip(0)))
    embeddings = model.llm.embed(pack([row], random_pixels(2)).tokens_T)
    embeddings[pack([row], random_pixels(2)).image_slots_N] = model.encode_images(random_pixels(2)).flatten(0, 1)
    model.llm.use_padded_attention()
    hidden = model.llm.model(inputs_embeds=embeddings[None]).last_hidden_state[0]
    logits = model.llm.lm_head.logits(hidden[-3:-1])
    torch.testing.assert_close(there, torch.nn.functional.cross_entropy(logits, torch.tensor([6, 7]), reduction="sum"))
    assert not torch.isclose(there, back)
