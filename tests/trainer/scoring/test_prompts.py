"""Prompts are those of XTuner, to the last token."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tokenizers import Tokenizer

from llava_trainer.scoring.benchmark import Question, read_benchmark
from llava_trainer.scoring.prompts import IMAGE_TOKEN, build_prompt
from support.benchmarks import row, write_tsv
from support.golden import golden

BOS, IMAGE = 1000, -200


def encode(tokenizer: Tokenizer, prompt: str) -> list[int]:
    wrapped = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
    before, after = (tokenizer.encode(text, add_special_tokens=False).ids for text in wrapped.split(IMAGE_TOKEN))
    return [BOS, *before, IMAGE, *after]


@pytest.mark.parametrize("split", ["dev", "test"])
def test_prompts_equal_the_golden_token_ids(split: str) -> None:
    tokenizer = Tokenizer.from_file(str(golden("tokenizers/bytelevel_bos/tokenizer.json")))
    expected = json.loads(golden(f"mmbench/prompts_{split}_internlm2_chat.json").read_text(encoding="utf-8"))
    benchmark = read_benchmark(golden(f"mmbench/{split}.tsv"), parity_na=True)
    made = [(q.index, encode(tokenizer, build_prompt(q))) for q in benchmark.questions]
    assert made == [(prompt["index"], prompt["input_ids"]) for prompt in expected["prompts"]]


@pytest.fixture
def question(tmp_path) -> Question:
    return read_benchmark(write_tsv(tmp_path / "b.tsv", row(hint="Look."))).questions[0]


def test_the_hint_stands_before_the_question(question: Question) -> None:
    request = "Answer with the option's letter from the given choices directly."
    assert build_prompt(question) == f"<image>\nLook.\nWhat?\nA. a dog\nB. a cat\n{request}"


@pytest.mark.parametrize("change", [{"hint": "看"}, {"question": "图?"}, {"options": {"A": "狗"}}])
def test_chinese_anywhere_asks_in_chinese(question: Question, change: dict[str, object]) -> None:
    assert build_prompt(replace(question, **change)).endswith("\n请直接回答选项字母。")


def test_full_width_punctuation_alone_is_not_chinese(question: Question) -> None:
    assert build_prompt(replace(question, hint="\uff0c\u3002ア")).endswith("directly.")
