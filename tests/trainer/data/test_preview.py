"""Previews: the golden ids as JSON lines, and a page that needs nothing from outside."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from llava_trainer.data.audit import Source
from llava_trainer.data.preview import PreviewRow, as_html, as_text, preview_rows
from llava_trainer.data.sample import Wording
from llava_trainer.data.template import get_template
from llava_trainer.data.tokenizer import Tokenizer
from support.golden import golden
from support.rows import image_row, make_image, row, write_rows

TOKENIZER = Tokenizer(golden("tokenizers/bytelevel_bos"))
WORDING = Wording(get_template("vicuna"), TOKENIZER, 1472)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    make_image(tmp_path / "a.jpg")
    rows = [
        image_row("a.jpg", "<image>\n<b>What?</b>", "A dog 图."),
        row("a"),
        image_row("no.jpg"),
        row("Hi", "Hello.", id=7),
    ]
    return Source(write_rows(tmp_path / "coco.json", rows), tmp_path)


def test_lines_hold_the_golden_ids(tmp_path: Path) -> None:
    entries = json.loads(golden("rows.json").read_text("utf-8"))
    source = Source(write_rows(tmp_path / "rows.json", [entry["row"] for entry in entries]), tmp_path)
    lines = [json.loads(r.to_json()) for r in preview_rows(source, WORDING, with_images=False)]
    with gzip.open(golden("tokenization_bytelevel_bos.json.gz"), "rt") as file:
        want = {case["row"]: case for case in json.load(file)["cases"] if case["template"] == "vicuna"}
    for entry, line in zip(entries, lines, strict=True):
        case = want[entry["key"]]
        if not line["dropped"]:
            assert (line["input_ids"], line["labels"]) == (case["input_ids"], case["labels"])
        else:
            assert "dropped" in case or "error" in case or entry["key"] == "text_only_with_image_token"


def test_a_line_has_the_promised_fields(source: Source) -> None:
    lines = [json.loads(r.to_json()) for r in preview_rows(source, WORDING)]
    assert [list(line) for line in lines] == [["row", "id", "input_ids", "labels", "dropped"]] * 4
    assert [(line["row"], line["id"], bool(line["dropped"])) for line in lines] == [
        (0, None, False), (1, None, True), (2, None, True), (3, "7", False),
    ]  # fmt: skip


def test_the_limit_counts_rows(source: Source) -> None:
    assert [r.row for r in preview_rows(source, WORDING, limit=2)] == [0, 1]


def test_text_puts_the_loss_in_brackets(source: Source) -> None:
    last = list(preview_rows(source, WORDING))[-1]
    text = as_text(last, TOKENIZER)
    assert text.startswith("coco.json row 3 (id 7): ")
    assert "USER: Hi ASSISTANT:[Hello.<|eot_id|>]" in text


def test_text_says_why_a_row_is_dropped(source: Source) -> None:
    texts = [as_text(r, TOKENIZER) for r in preview_rows(source, WORDING)]
    assert texts[1] == "coco.json row 1: dropped, no-answer"
    assert "is missing" in texts[2]


def page(source: Source) -> str:
    return as_html(preview_rows(source, WORDING), TOKENIZER, title="coco <json>")


def test_the_page_needs_nothing_from_outside(source: Source) -> None:
    assert not re.search(r"https?:|//[a-z]|<script|<link|@import", page(source))


def test_the_page_shows_images_rows_and_loss(source: Source) -> None:
    text = page(source)
    assert text.count('src="data:image/jpeg;base64,') == 1
    assert text.count("<section>") == 4
    assert text.count('class="learnt"') > 4
    assert "图" in text


def test_a_row_with_two_images_shows_both_in_order(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        make_image(tmp_path / name, size=(30 + ord(name[0]), 20))
    rows = [image_row(images, "<image><image>?", "x") for images in (["a.jpg", "b.jpg"], ["b.jpg", "a.jpg"])]
    there, back = preview_rows(Source(write_rows(tmp_path / "rows.jsonl", rows), tmp_path), WORDING)
    assert len(set(there.pictures)) == 2
    assert there.pictures == back.pictures[::-1]


def test_the_page_escapes_what_rows_say(source: Source) -> None:
    assert "<b>" not in page(source)
    assert "coco &lt;json&gt;" in page(source)


def test_pieces_stay_beside_their_labels() -> None:
    ids = (*TOKENIZER.encode("图"), -200, *TOKENIZER.encode("a"))
    text = as_text(PreviewRow("a", 0, None, ids, (-100,) * len(ids)), TOKENIZER)
    assert text.endswith("图<image>a")
