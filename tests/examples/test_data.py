"""The tiny data set: deterministic, in the published layout, and its splits share no picture."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("sklearn", reason="scikit-learn is in the dev group only")

import make_data
import scenes
import wording

SETS = ("coco/train2017", "gqa/images", "ocr_vqa/images", "textvqa/train_images", "vg/VG_100K", "vg/VG_100K_2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_data.write_all(folder)
    return folder


def rows_of(data: Path, name: str) -> list[dict]:
    return json.loads((data / name).read_text())


def pretrain(data: Path) -> list[dict]:
    return rows_of(data, "LLaVA-Pretrain/blip_laion_cc_sbu_558k.json")


def finetune(data: Path) -> list[dict]:
    return rows_of(data, "LLaVA-Instruct-150K/llava_v1_5_mix665k.json")


def benchmark(data: Path) -> list[dict[str, str]]:
    with (data / "benchmark" / make_data.BENCHMARK).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_command_writes_same_bytes(data: Path, tmp_path: Path) -> None:
    make_data.write_all(tmp_path)
    assert digests(tmp_path) == digests(data)


def test_splits_share_no_digit_image() -> None:
    indices = [scenes.digit_indices(split, digit) for split in ("towers", "demo", "eval") for digit in scenes.DIGITS]
    assert sum(len(part) for part in indices) == len(set().union(*indices)) == 1797


def test_splits_share_no_picture(data: Path) -> None:
    train = {hashlib.sha256(path.read_bytes()).hexdigest() for path in data.rglob("*.jpg")}
    images = [base64.b64decode(row["image"]) for row in benchmark(data) if len(row["image"]) > 64]
    rng = scenes.rng_of("towers", "vision", 0)
    towers = {hashlib.sha256(scenes.draw("towers", rng).jpeg()).hexdigest() for _ in range(1000)}
    assert not {hashlib.sha256(image).hexdigest() for image in images} & (train | towers)
    assert not train & towers


def test_streams_of_splits_differ() -> None:
    firsts = [scenes.rng_of(split, "x").integers(2**60) for split in ("towers", "demo", "eval")]
    assert len(set(firsts)) == 3


@pytest.mark.parametrize(("read", "images"), [(pretrain, "LLaVA-Pretrain/images"), (finetune, "llava_images")])
def test_every_row_has_its_image(data: Path, read, images: str) -> None:
    named = [row["image"] for row in read(data) if "image" in row]
    assert all((data / images / name).is_file() for name in named)
    assert len(named) == len(set(named)) > 1000


@pytest.mark.parametrize("read", [pretrain, finetune])
def test_image_rows_and_only_they_hold_one_token(data: Path, read) -> None:
    for row in read(data):
        assert sum(turn["value"].count("<image>") for turn in row["conversations"]) == ("image" in row)
        assert "<image>" not in "".join(turn["value"] for turn in row["conversations"][1:])


@pytest.mark.parametrize("read", [pretrain, finetune])
def test_ids_are_unique_and_turns_alternate(data: Path, read) -> None:
    rows = read(data)
    assert len({row["id"] for row in rows}) == len(rows)
    assert all([turn["from"] for turn in row["conversations"][:2]] == ["human", "gpt"] for row in rows)


def test_mix_holds_all_image_sets_and_text_rows(data: Path) -> None:
    rows = finetune(data)
    assert {row["image"].rsplit("/", 1)[0] for row in rows if "image" in row} == set(SETS)
    assert sum("image" not in row for row in rows) == make_data.FINETUNE_ROWS // make_data.TEXT_ONLY_EVERY


def test_images_decode(data: Path) -> None:
    path = next((data / "llava_images").rglob("*.jpg"))
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))


def test_every_question_has_four_rotations(data: Path) -> None:
    turns = Counter(int(row["index"]) % 1_000_000 for row in benchmark(data))
    assert len(turns) >= 100
    assert set(turns.values()) == {4}


def test_rotations_keep_the_right_text(data: Path) -> None:
    right: dict[int, set[str]] = {}
    for row in benchmark(data):
        right.setdefault(int(row["index"]) % 1_000_000, set()).add(row[row["answer"]])
    assert all(len(texts) == 1 for texts in right.values())


def test_rotations_name_the_base_row_of_their_image(data: Path) -> None:
    rows = benchmark(data)
    assert all(row["image"] == str(int(row["index"]) % 1_000_000) for row in rows if int(row["index"]) >= 1_000_000)
    assert all(len(row["image"]) > 64 for row in rows if int(row["index"]) < 1_000_000)


def test_letters_are_balanced_and_options_differ(data: Path) -> None:
    rows = benchmark(data)
    assert set(Counter(row["answer"] for row in rows).values()) == {len(rows) // 4}
    assert all(len({row[letter] for letter in wording.LETTERS}) == 4 for row in rows)


def test_distractors_are_answers_of_the_same_ability(data: Path) -> None:
    values = {ability.category: set(ability.values) for ability in wording.ABILITIES}
    assert all({row[letter] for letter in wording.LETTERS} <= values[row["category"]] for row in benchmark(data))


def test_at_least_three_abilities_are_asked(data: Path) -> None:
    assert len({row["category"] for row in benchmark(data)}) == len(wording.ABILITIES)
    assert len({row["l2-category"] for row in benchmark(data)}) >= 3
