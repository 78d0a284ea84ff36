"""Reading annotation files: every wrong shape is a named row, and only a broken file stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_trainer.data import record
from llava_trainer.data.record import BadRow, Reason, Record, Role, Turn, read_records
from llava_trainer.errors import BadData, MissingInput
from support.rows import image_row, read_one, row, write_rows

SOUND = row("Hi", "Hello.", id=7)

WRONG = [
    ("a string", Reason.NOT_AN_OBJECT, "the row is a string, not an object"),
    (None, Reason.NOT_AN_OBJECT, "the row is missing"),
    ([], Reason.NOT_AN_OBJECT, "the row is a list"),
    ({}, Reason.BAD_CONVERSATIONS, "conversations is missing"),
    ({"conversations": {}}, Reason.BAD_CONVERSATIONS, "conversations is an object, not a list"),
    ({"conversations": ["hi"]}, Reason.BAD_CONVERSATIONS, "conversations[0] is a string"),
    ({"conversations": [{"from": "Human", "value": "a"}]}, Reason.WRONG_ROLE, 'conversations[0] is "Human"'),
    ({"conversations": [{"from": "system", "value": "a"}]}, Reason.WRONG_ROLE, 'conversations[0] is "system"'),
    ({"conversations": [{"value": "a"}]}, Reason.WRONG_ROLE, "conversations[0] is null"),
    ({"conversations": [{"from": ["human"], "value": "a"}]}, Reason.WRONG_ROLE, "conversations[0] is"),
    ({"conversations": [{"from": "human"}]}, Reason.BAD_VALUE, "the value of conversations[0] is missing"),
    ({"conversations": [{"from": "human", "value": 3}]}, Reason.BAD_VALUE, "is a number, not a string"),
    (row("half \ud83d pair", "b"), Reason.BAD_VALUE, "half a surrogate pair"),
    (image_row(3), Reason.BAD_IMAGE_FIELD, "image is a number, not a path"),
    (image_row(""), Reason.BAD_IMAGE_FIELD, "image is ''"),
    (image_row("a\0b"), Reason.BAD_IMAGE_FIELD, "not a path"),
    (image_row(["a.jpg", None]), Reason.BAD_IMAGE_FIELD, "image is missing, not a path"),
]


@pytest.mark.parametrize(("value", "reason", "words"), WRONG)
def test_a_wrong_shape_is_a_bad_row(tmp_path: Path, value: Any, reason: Reason, words: str) -> None:
    (tmp_path / "coco.json").write_text(json.dumps([value]))
    (bad,) = read_records(tmp_path / "coco.json")
    assert isinstance(bad, BadRow)
    assert bad.reason is reason
    assert words in bad.detail


def test_a_sound_row_keeps_its_parts(tmp_path: Path) -> None:
    turns = (Turn(Role.HUMAN, "Hi"), Turn(Role.GPT, "Hello."))
    assert read_one(tmp_path, SOUND) == Record("coco.json", 0, "7", (), turns)


@pytest.mark.parametrize(
    ("image", "want"), [(None, ()), ("a.jpg", ("a.jpg",)), (["a.jpg", "b.jpg"], ("a.jpg", "b.jpg"))]
)
def test_image_is_nothing_a_path_or_a_list(tmp_path: Path, image: Any, want: tuple[str, ...]) -> None:
    result = read_one(tmp_path, image_row(image))
    assert isinstance(result, Record)
    assert result.images == want


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "ROWS.JSONL"])
def test_both_forms_give_the_same_rows(tmp_path: Path, name: str) -> None:
    path = write_rows(tmp_path / name.lower(), [SOUND, "wrong", SOUND]).rename(tmp_path / name)
    assert [(r.row, type(r)) for r in read_records(path)] == [(0, Record), (1, BadRow), (2, Record)]


def test_an_array_is_read_in_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "_CHUNK_CHARS", 3)
    values = [SOUND, 12345678, image_row("ü.jpg"), None]
    path = write_rows(tmp_path / "rows.json", values)
    whole = list(read_records(path))
    assert [r.row for r in whole] == [0, 1, 2, 3]
    assert isinstance(whole[2], Record)


@pytest.mark.parametrize("line", ["{oops", "9" * 5000])
def test_a_line_that_is_not_json_spoils_only_itself(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(SOUND)}\n{line}\n\n{json.dumps(SOUND)}\n")
    reasons = [r.reason if isinstance(r, BadRow) else None for r in read_records(path)]
    assert reasons == [None, Reason.NOT_JSON, None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1}', "not a JSON array"),
        ("", "the file breaks off"),
        ("[1, 2", "after row 1 (the file breaks off)"),
        ("[1, {", "after row 0"),
        ("[1 2]", "after row 0 (expected a comma"),
        ("[1,]", "after row 0"),
        ("[oops]", "before the first row"),
        (f"[1, {'9' * 5000}]", "after row 0 (a number of thousands of digits)"),
    ],
)
def test_a_broken_array_says_where(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(BadData) as error:
        list(read_records(tmp_path / "rows.json"))
    assert words in str(error.value)


def test_an_empty_array_has_no_rows(tmp_path: Path) -> None:
    assert list(read_records(write_rows(tmp_path / "rows.json", []))) == []


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_bytes(b"\xef\xbb\xbf" + json.dumps([SOUND]).encode())
    assert len(list(read_records(tmp_path / "rows.json"))) == 1


@pytest.mark.parametrize(("name", "content"), [("rows.csv", b"a,b"), ("rows.json", b'["\xff"]')])
def test_an_unreadable_file_is_bad_data(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadData, match=name):
        list(read_records(tmp_path / name))


@pytest.mark.parametrize("name", ["absent.json", "."])
def test_an_absent_file_is_missing_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(MissingInput):
        list(read_records(tmp_path / name if name != "." else tmp_path / "folder.json"))


def test_the_sentence_names_file_row_fault_and_cure() -> None:
    bad = BadRow("coco.json", 41207, None, Reason.IMAGE_MISSING, "image a.jpg is missing")
    want = "coco.json row 41,207: image a.jpg is missing; put the file there, or correct the path in the row."
    assert str(bad) == want


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_cure(reason: Reason) -> None:
    assert str(BadRow("a", 0, None, reason, "b")).startswith("a row 0: b; ")
