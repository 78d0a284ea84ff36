"""Row normalisation: equal to the golden file, but for the faults that ours names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_trainer.data.conversation import Conversation, Exchange, Oddity
from llava_trainer.data.record import BadRow, Reason
from support.golden import golden
from support.rows import image_row, normalise_one, row, turns

ROWS = {entry["key"]: entry["row"] for entry in json.loads(golden("rows.json").read_text("utf-8"))}
WANT = json.loads(golden("normalised_conversations.json").read_text("utf-8"))
OURS = {"text_only_with_image_token": Reason.TOKEN_WITHOUT_IMAGE}


@pytest.mark.parametrize("want", WANT, ids=[want["row"] for want in WANT])
def test_golden_rows(tmp_path: Path, want: dict[str, Any]) -> None:
    result = normalise_one(tmp_path, ROWS[want["row"]])
    if "error" in want or want["row"] in OURS:
        assert isinstance(result, BadRow)
        assert result.reason is OURS.get(want["row"], Reason.WRONG_ROLE)
    else:
        assert isinstance(result, Conversation)
        assert [{"input": e.instruction, "output": e.answer} for e in result.exchanges] == want["conversation"]


def both(*values: str) -> list[dict[str, str]]:
    """Human turns one after another, then an answer."""
    return [{"from": "human", "value": value} for value in values] + [{"from": "gpt", "value": "Yes."}]


CONTRADICTIONS = [
    (image_row("a.jpg", "What?", "A dog."), Reason.IMAGE_WITHOUT_TOKEN),
    (image_row("a.jpg", "Hi", "Hello.", "<image>\nWhat?"), Reason.IMAGE_WITHOUT_TOKEN),
    (row("<image>\nWhat?", "A dog."), Reason.TOKEN_WITHOUT_IMAGE),
    ({"image": "a.jpg", "conversations": both("<image>a", "<image>b")}, Reason.TOKENS_IN_JOINED_TURNS),
    (image_row("a.jpg", "<image>a", "b", "<image>c", "d"), Reason.TOKENS_IN_SEVERAL_TURNS),
    (image_row(["a.jpg", "b.jpg"], "<image>a", "b"), Reason.TOKEN_COUNT),
    (image_row(["a.jpg", "b.jpg"], "<image><image><image>a", "b"), Reason.TOKEN_COUNT),
]


@pytest.mark.parametrize(("value", "reason"), CONTRADICTIONS)
def test_a_row_that_contradicts_itself_is_bad(tmp_path: Path, value: Any, reason: Reason) -> None:
    result = normalise_one(tmp_path, value)
    assert isinstance(result, BadRow)
    assert result.reason is reason


ODD = [
    (image_row("a.jpg", "<image> a <image> b", "c"), Oddity.SEVERAL_TOKENS, "<image>\na  b"),
    (row("a", "b", "c"), Oddity.TRAILING_HUMAN, "a"),
    ({"conversations": turns("hello", "a", "b", first="gpt")}, Oddity.LEADING_GPT, "a"),
]


@pytest.mark.parametrize(("value", "oddity", "instruction"), ODD)
def test_an_odd_row_is_used_and_remembered(tmp_path: Path, value: Any, oddity: Oddity, instruction: str) -> None:
    result = normalise_one(tmp_path, value)
    assert isinstance(result, Conversation)
    assert result.oddities == (oddity,)
    assert [e.instruction for e in result.exchanges] == [instruction]


def test_several_images_keep_the_places_of_their_tokens(tmp_path: Path) -> None:
    result = normalise_one(tmp_path, image_row(["a.jpg", "b.jpg"], " first <image> second <image> ", "ok"))
    assert isinstance(result, Conversation)
    assert result.exchanges == (Exchange("first <image> second <image>", "ok"),)


def test_a_token_in_an_answer_is_plain_text(tmp_path: Path) -> None:
    result = normalise_one(tmp_path, row("What?", "I see <image> here."))
    assert isinstance(result, Conversation)


@pytest.mark.parametrize("values", [(), ("<image>\nWhat?",)])
def test_a_row_without_an_answer_is_empty_not_bad(tmp_path: Path, values: tuple[str, ...]) -> None:
    result = normalise_one(tmp_path, {"conversations": turns(*values), "image": "a.jpg"})
    assert isinstance(result, Conversation)
    assert result.exchanges == ()
