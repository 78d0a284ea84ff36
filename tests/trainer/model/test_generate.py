"""Answers are greedy, the same at every batch size, and end where they should."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llava_trainer.data.sample import IMAGE
from llava_trainer.model.generate import Prompt, Stopping, answer
from llava_trainer.model.llava import Llava
from support.tiny_model import IMAGE_SIZE, LLMS, VOCABULARY, random_row, tiny_llava

PROMPTS = [
    Prompt(tuple(random_row(length, image=image is not None, seed=length)[0]), () if image is None else (image,))
    for length, image in [(5, "cat"), (12, "dog"), (7, None), (9, "cat"), (4, None), (17, "dog"), (6, "cat")]
]


class Album:
    """Gives each name its own picture and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, names: list[str]) -> torch.Tensor:
        self.asked += names
        seeds = [len(name) + ord(name[0]) for name in names]
        draw = [torch.randn(3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(draw)


def ready(model: Llava) -> Llava:
    model.llm.use_padded_attention()
    model.eval()
    return model


def answers(model: Llava, batch_size: int, stop: frozenset[int] = frozenset(), album: Album | None = None) -> list:
    stopping = Stopping(stop, max_new_tokens=8)
    found = answer(model, PROMPTS, read_images=album or Album(), stopping=stopping, batch_size=batch_size)
    return [tokens for _, tokens in sorted(found)]


@pytest.mark.parametrize("family", LLMS)
def test_answers_do_not_depend_on_the_batch(family: str, tmp_path: Path) -> None:
    model = ready(tiny_llava(tmp_path, family))
    one_by_one = answers(model, 1)
    assert all(answers(model, size) == one_by_one for size in (2, 3, 7))


@pytest.mark.parametrize("family", LLMS)
def test_answers_are_what_reading_everything_again_would_choose(family: str, tmp_path: Path) -> None:
    model = ready(tiny_llava(tmp_path, family))
    wanted = []
    for prompt in PROMPTS:
        ids: list[int] = list(prompt.token_ids)
        for _ in range(8):
            with torch.no_grad():
                hidden = model.llm.model(inputs_embeds=embeddings(model, ids, prompt)[None]).last_hidden_state[0, -1]
                ids.append(int(model.llm.lm_head.logits(hidden[None]).argmax()))
        wanted.append(tuple(ids[-8:]))
    assert answers(model, 3) == wanted


def embeddings(model: Llava, ids: list[int], prompt: Prompt) -> torch.Tensor:
    rows = [
        model.encode_images(Album()(list(prompt.images)))[0]
        if token == IMAGE
        else model.llm.embed(torch.tensor([token]))
        for token in ids
    ]
    return torch.cat(rows)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_an_image_is_encoded_once_for_all_its_questions(batch_size: int, tmp_path: Path) -> None:
    album = Album()
    answers(ready(tiny_llava(tmp_path)), batch_size, album=album)
    assert sorted(album.asked) == ["cat", "dog"]


def test_an_answer_ends_before_a_stop_token(tmp_path: Path) -> None:
    model = ready(tiny_llava(tmp_path))
    endless = answers(model, 3)
    stop = endless[0][4]
    assert answers(model, 3, frozenset({stop}))[0] == endless[0][: endless[0].index(stop)]


def test_an_answer_may_be_empty(tmp_path: Path) -> None:
    assert answers(ready(tiny_llava(tmp_path)), 3, frozenset(range(VOCABULARY))) == [()] * len(PROMPTS)
