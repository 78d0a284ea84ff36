"""The audit: every fault is named with file and row, oddities are counted, and policy decides what is too much."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_trainer.data.audit import Audit, Source, audit
from llava_trainer.data.conversation import Oddity
from llava_trainer.data.record import Reason
from llava_trainer.data.sample import DropReason
from llava_trainer.errors import BadData
from support.rows import break_off, image_row, make_bomb, make_image, row, turns, write_rows

HUMANS = [{"from": "human", "value": "<image>a"}, {"from": "human", "value": "<image>b"}, {"from": "gpt", "value": "c"}]

FAULTS = [
    (image_row("missing.jpg"), Reason.IMAGE_MISSING),
    (image_row("truncated.jpg"), Reason.IMAGE_TRUNCATED),
    (image_row("text.jpg"), Reason.NOT_AN_IMAGE),
    (image_row("empty.jpg"), Reason.NOT_AN_IMAGE),
    (image_row("bomb.png"), Reason.DECOMPRESSION_BOMB),
    ({"conversations": [{"from": "user", "value": "a"}, {"from": "gpt", "value": "b"}]}, Reason.WRONG_ROLE),
    (image_row("good.jpg", "What?", "A dog."), Reason.IMAGE_WITHOUT_TOKEN),
    (row("<image>\nWhat?", "A dog."), Reason.TOKEN_WITHOUT_IMAGE),
    (image_row("good.jpg", "<image>a", "b", "<image>c", "d"), Reason.TOKENS_IN_SEVERAL_TURNS),
    ({"image": "good.jpg", "conversations": HUMANS}, Reason.TOKENS_IN_JOINED_TURNS),
    (image_row(["good.jpg", "missing.jpg"], "<image><image>", "a"), Reason.IMAGE_MISSING),
    ("no object", Reason.NOT_AN_OBJECT),
    ({"image": "good.jpg"}, Reason.BAD_CONVERSATIONS),
]

ODD = [
    (image_row("cmyk.jpg"), Oddity.CMYK_IMAGE),
    (image_row("deep.png"), Oddity.SIXTEEN_BIT_IMAGE),
    (image_row("palette.png"), Oddity.PALETTE_IMAGE),
    (image_row("good.jpg", "<image> a <image>", "b"), Oddity.SEVERAL_TOKENS),
    (row("a", "b", "c"), Oddity.TRAILING_HUMAN),
    ({"conversations": turns("a", "b", "c", first="gpt")}, Oddity.LEADING_GPT),
]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    make_image(folder / "good.jpg")
    break_off(make_image(folder / "truncated.jpg", size=(200, 200)))
    (folder / "text.jpg").write_text("I am a text.")
    (folder / "empty.jpg").touch()
    make_bomb(folder / "bomb.png")
    make_image(folder / "cmyk.jpg", "CMYK")
    make_image(folder / "deep.png", "I;16")
    make_image(folder / "palette.png", "P")
    return folder


def run(images: Path, *rows: Any, check_images: bool = True) -> Audit:
    path = write_rows(images.parent / "coco.json", rows)
    return audit([Source(path, images)], check_images=check_images)


@pytest.mark.parametrize(("fault", "reason"), FAULTS)
def test_a_fault_is_named_with_its_row(images: Path, fault: Any, reason: Reason) -> None:
    found = run(images, image_row("good.jpg"), row("a", "b"), fault, row("a", "b"))
    assert [(bad.source, bad.row, bad.reason) for bad in found.bad_rows] == [("coco.json", 2, reason)]
    assert found.num_kept == 3


@pytest.mark.parametrize(("value", "oddity"), ODD)
def test_an_oddity_is_counted_not_fatal(images: Path, value: Any, oddity: Oddity) -> None:
    found = run(images, value, image_row("good.jpg"))
    assert (found.num_kept, found.oddities) == (2, ((oddity, 1),))


def test_all_faults_at_once_are_all_named_in_order(images: Path) -> None:
    found = run(images, *[fault for fault, _ in FAULTS * 20])
    assert [bad.row for bad in found.bad_rows] == list(range(len(FAULTS) * 20))
    assert [bad.reason for bad in found.bad_rows] == [reason for _, reason in FAULTS] * 20


def test_a_row_without_an_answer_is_dropped(images: Path) -> None:
    found = run(images, row("a"), row("a", "b"))
    assert [(drop.row, drop.reason) for drop in found.dropped] == [(0, DropReason.NO_ANSWER)]


def test_without_looking_at_images_they_may_be_absent(images: Path) -> None:
    assert run(images, image_row("missing.jpg"), check_images=False).bad_rows == ()


def test_image_rows_need_an_image_folder(tmp_path: Path) -> None:
    found = audit([Source(write_rows(tmp_path / "coco.json", [image_row("a.jpg")]))])
    assert found.bad_rows[0].reason is Reason.IMAGE_MISSING


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / name / "train.json" for name in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        write_rows(path, ["wrong"])
    assert [bad.source for bad in audit([Source(path) for path in paths]).bad_rows] == [str(path) for path in paths]


POLICIES = [
    (0, "fail", 0.0, None),
    (1, "fail", 1.0, "1 of 10 rows are bad; mend them, or set prepare.onBadRow"),
    (1, "quarantine", 0.1, None),
    (2, "quarantine", 0.1, "2 of 10 rows are bad, more than prepare.maxBadFraction 0.1"),
]


@pytest.mark.parametrize(("num_bad", "on_bad_row", "limit", "words"), POLICIES)
def test_policy_decides(images: Path, num_bad: int, on_bad_row: str, limit: float, words: str | None) -> None:
    found = run(images, *["wrong"] * num_bad, *[row("a", "b")] * (10 - num_bad))
    if words is None:
        found.require(on_bad_row=on_bad_row, max_bad_fraction=limit)
        return
    with pytest.raises(BadData, match=r"^coco\.json row 0: ") as error:
        found.require(on_bad_row=on_bad_row, max_bad_fraction=limit)
    assert words in str(error.value)


def test_an_audit_survives_json(images: Path) -> None:
    found = run(images, *[value for value, _ in FAULTS + ODD], row("a"))
    assert Audit.from_json(found.to_json()) == found


def test_the_json_names_file_row_and_reason(images: Path) -> None:
    (bad,) = json.loads(run(images, image_row("missing.jpg", id=5)).to_json())["bad"]
    assert (bad["file"], bad["row"], bad["id"], bad["reason"]) == ("coco.json", 0, "5", "image-missing")


@pytest.mark.parametrize(("weight", "copies"), [(1, [1] * 4), (2, [2] * 4), (0.5, [0, 1, 0, 1]), (1.5, [1, 2, 1, 2])])
def test_weight_repeats_or_thins_rows_evenly(weight: float, copies: list[int]) -> None:
    assert [Source(Path("a.json"), weight=weight).copies(i) for i in range(4)] == copies
