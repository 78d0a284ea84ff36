"""How the model answers: greedily, many prompts at once, with the same answers whatever the batch.

Prompts are padded on the left under a mask and positions count real tokens only. Prompts about the same images stand
next to each other, so that every image is encoded once.

B = prompts of a batch, T = longest prompt of it, D = width of the LLM, P = rows of an image.
"""
# ruff: noqa: N802, N806, N815

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from llava_trainer.data.sample import IMAGE
from llava_trainer.model.llava import Llava

__all__ = ["Prompt", "Stopping", "answer"]

ReadImages = Callable[[Sequence[str]], torch.Tensor]
"""Gives the normalised pixels of images by name, [I, C, H, W]."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids with IMAGE where an image goes, and the names of the images in that order."""

    token_ids: tuple[int, ...]
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stopping:
    """What ends an answer: one of these tokens, which is not part of it, or its length in tokens."""

    token_ids: frozenset[int]
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class _Padded:
    """A batch of prompts as embeddings, shorter ones behind padding that the mask hides."""

    inputs_BTD: torch.Tensor
    mask_BT: torch.Tensor  # int64, 1 where there is a token

    @property
    def positions_BT(self) -> torch.Tensor:
        """Number of the token within its prompt; 0 in the padding."""
        return (self.mask_BT.cumsum(dim=1) - 1).clamp(min=0)


def answer(
    model: Llava, prompts: Sequence[Prompt], *, read_images: ReadImages, stopping: Stopping, batch_size: int
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Give (number of the prompt, token ids of its answer), each prompt once, in an order that suits the images.

    The model must be in evaluation mode with padded attention, as `load_export` gives it.
    """
    assert not model.training
    first_seen = {name: i for i, name in enumerate(dict.fromkeys(name for prompt in prompts for name in prompt.images))}
    order = sorted(range(len(prompts)), key=lambda i: [first_seen[name] for name in prompts[i].images])
    rows: dict[str, torch.Tensor] = {}
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        batch = [prompts[i] for i in numbers]
        with torch.no_grad():  # not inference_mode: a model in training goes on with what ZeRO-3 gathers here
            names = list(dict.fromkeys(name for prompt in batch for name in prompt.images))
            rows = _encode(model, names, known=rows, read_images=read_images)
            answers = _decode(model, _pad([_embed(model, prompt, rows) for prompt in batch]), stopping)
        yield from zip(numbers, answers, strict=True)


def _encode(
    model: Llava, names: Sequence[str], *, known: dict[str, torch.Tensor], read_images: ReadImages
) -> dict[str, torch.Tensor]:
    """Rows of each image, [P, D]; only those of the batch before are kept in memory."""
    new = [name for name in names if name not in known]
    fresh: dict[str, torch.Tensor] = {}
    if new:
        device = model.llm.lm_head.weight.device
        fresh = dict(zip(new, model.encode_images(read_images(new).to(device)), strict=True))
    return {name: fresh[name] if name in fresh else known[name] for name in names}


def _embed(model: Llava, prompt: Prompt, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    """One prompt as embeddings, [t, D]."""
    tokens = torch.tensor(prompt.token_ids, device=model.llm.lm_head.weight.device)
    is_image = tokens == IMAGE
    assert int(is_image.sum()) == len(prompt.images), prompt
    words = model.llm.embed(tokens.masked_fill(is_image, 0))
    pieces: list[torch.Tensor] = []
    begin = 0
    for place, name in zip(torch.nonzero(is_image).flatten().tolist(), prompt.images, strict=True):
        pieces += [words[begin:place], rows[name].to(words.dtype)]
        begin = place + 1
    return torch.cat([*pieces, words[begin:]])


def _pad(prompts: list[torch.Tensor]) -> _Padded:
    longest = max(len(prompt) for prompt in prompts)
    inputs_BTD = prompts[0].new_zeros(len(prompts), longest, prompts[0].shape[1])
    mask_BT = torch.zeros(len(prompts), longest, dtype=torch.int64, device=inputs_BTD.device)
    for row, prompt in enumerate(prompts):
        inputs_BTD[row, longest - len(prompt) :] = prompt
        mask_BT[row, longest - len(prompt) :] = 1
    return _Padded(inputs_BTD, mask_BT)


def _decode(model: Llava, batch: _Padded, stopping: Stopping) -> list[tuple[int, ...]]:
    """Choose the most likely token again and again, until every prompt has its answer."""
    inputs, mask_BT, positions = batch.inputs_BTD, batch.mask_BT, batch.positions_BT
    cache = DynamicCache(config=model.llm.config)
    answers: list[list[int]] = [[] for _ in mask_BT]
    unfinished = set(range(len(answers)))
    for _ in range(stopping.max_new_tokens):
        hidden = model.llm.model(
            inputs_embeds=inputs, attention_mask=mask_BT, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state
        tokens_B = model.llm.lm_head(hidden[:, -1]).float().argmax(dim=-1)
        for row, token in enumerate(tokens_B.tolist()):
            if row in unfinished and token not in stopping.token_ids:
                answers[row].append(token)
            else:
                unfinished.discard(row)
        if not unfinished:
            break
        inputs = model.llm.embed(tokens_B[:, None])
        mask_BT = torch.cat([mask_BT, torch.ones_like(mask_BT[:, :1])], dim=1)
        positions = positions[:, -1:] + 1
    return [tuple(tokens) for tokens in answers]
