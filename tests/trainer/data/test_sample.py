"""Tokens and labels: equal to the golden files exactly, with every template and tokenizer."""

from __future__ import annotations

import gzip
import json
from functools import cache
from typing import Any

import pytest

from llava_trainer.data.conversation import Conversation, Exchange, normalise
from llava_trainer.data.record import BadRow, Record, read_records
from llava_trainer.data.sample import IGNORE, IMAGE, Dropped, DropReason, Sample, Wording, tokenise
from llava_trainer.data.template import TEMPLATES, get_template
from llava_trainer.data.tokenizer import Tokenizer
from support.golden import golden
from support.rows import write_rows

SMALL = ["sp_llama_fast", "bytelevel_bos", "qwen2_nobos"]
CASES = [(name, template) for name in SMALL for template in TEMPLATES] + [("internlm2_real", "internlm2_chat")]
OURS_IS_BAD = {"text_only_with_image_token"}


@cache
def tokenizer(name: str) -> Tokenizer:
    return Tokenizer(golden(f"tokenizers/{name}"))


@cache
def want(name: str) -> list[dict[str, Any]]:
    with gzip.open(golden(f"tokenization_{name}.json.gz"), "rt", encoding="utf-8") as file:
        cases: list[dict[str, Any]] = json.load(file)["cases"]
    return cases


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Conversation | BadRow]:
    entries = json.loads(golden("rows.json").read_text("utf-8"))
    path = write_rows(tmp_path_factory.mktemp("rows") / "rows.json", [entry["row"] for entry in entries])
    records = read_records(path)
    found = [record if isinstance(record, BadRow) else normalise(record) for record in records]
    return dict(zip([entry["key"] for entry in entries], found, strict=True))


@pytest.mark.parametrize(("name", "template"), CASES)
def test_golden_tokens_and_labels(findings: dict[str, Conversation | BadRow], name: str, template: str) -> None:
    cases = [case for case in want(name) if case["template"] == template and case["row"] not in OURS_IS_BAD]
    assert len(cases) >= 20
    for case in cases:
        finding = findings[case["row"]]
        if isinstance(finding, BadRow):
            assert "error" in case
            continue
        sample = tokenise(finding, Wording(get_template(template), tokenizer(name), case["max_length"]))
        if isinstance(sample, Dropped):
            assert "dropped" in case
        else:
            assert (list(sample.input_ids), list(sample.labels)) == (case["input_ids"], case["labels"])


def test_golden_lengths_of_a_data_set(findings: dict[str, Conversation | BadRow]) -> None:
    table = json.loads(golden("dataset_level.json").read_text("utf-8"))
    lost = {"only_gpt", "only_human", "long_question_truncates_all_labels"}
    kept = [name for name in table["rows_in"] if name not in lost]
    wording = Wording(get_template(table["template"]), tokenizer(table["tokenizer"]), 1472)
    for name, length in zip(kept, table["modality_length"], strict=True):
        if isinstance(finding := findings.get(name), Conversation):
            sample = tokenise(finding, wording)
            assert isinstance(sample, Sample)
            assert len(sample.input_ids) == abs(length)


@pytest.mark.parametrize(("template", "model"), [("vicuna", "llm_vicuna"), ("llama3_chat", "llm_llama3")])
def test_golden_tokens_of_the_training_set(template: str, model: str) -> None:
    want = json.loads(golden("training/data/rows_tokenized.json").read_text("utf-8"))[template]
    words = Wording(get_template(template), Tokenizer(golden(f"training/models/{model}")), 240)
    for record, row in zip(read_records(golden("training/data/rows.json")), want, strict=True):
        assert isinstance(record, Record)
        assert isinstance(found := normalise(record), Conversation)
        assert isinstance(sample := tokenise(found, words), Sample)
        assert (list(sample.input_ids), list(sample.labels)) == (row["input_ids"], row["labels"])


def conversation(*exchanges: tuple[str, str], images: tuple[str, ...] = ()) -> Conversation:
    return Conversation("coco.json", 3, "x", images, tuple(Exchange(*exchange) for exchange in exchanges))


def wording(template: str, max_length: int = 1472, name: str = "bytelevel_bos") -> Wording:
    return Wording(get_template(template), tokenizer(name), max_length)


@pytest.mark.parametrize(("template", "num_bos"), [("vicuna", 2), ("llama3_chat", 1), ("gemma", 2)])
def test_bos_opens_each_turn_that_eos_closed(template: str, num_bos: int) -> None:
    sample = tokenise(conversation(("a", "b"), ("c", "d")), wording(template))
    assert isinstance(sample, Sample)
    assert sample.input_ids.count(tokenizer("bytelevel_bos").bos_id or 0) == num_bos


@pytest.mark.parametrize(
    ("exchanges", "max_length", "reason"),
    [
        ((), 1472, DropReason.NO_ANSWER),
        ((("a long question", "b"),), 5, DropReason.LABELS_CUT_OFF),
    ],
)
def test_a_row_without_labels_is_dropped(exchanges: Any, max_length: int, reason: DropReason) -> None:
    dropped = tokenise(conversation(*exchanges), wording("vicuna", max_length))
    assert dropped == Dropped("coco.json", 3, "x", reason)


def test_an_image_is_one_token() -> None:
    sample = tokenise(conversation(("<image>\na", "b"), images=("i.jpg",)), wording("vicuna"))
    assert isinstance(sample, Sample)
    assert sample.input_ids.count(IMAGE) == sample.num_slots == 1


def test_an_image_whose_token_is_cut_off_is_not_seen() -> None:
    text = conversation(("a", "b"), ("<image>\nc", "d"), images=("i.jpg",))
    sample = tokenise(text, wording("vicuna", 10))
    assert isinstance(sample, Sample)
    assert (sample.num_images, sample.num_slots, sample.seen_images) == (1, 0, ())


def test_the_first_token_is_never_a_label() -> None:
    assert Sample("a", 0, None, (), (5, 6, 7), (5, IGNORE, 7)).num_labels == 1


def test_special_tokens_written_in_a_text_become_their_ids() -> None:
    tokens = tokenizer("bytelevel_bos")
    assert tokens.token_id("<|eot_id|>") in tokens.encode("a<|eot_id|>")
