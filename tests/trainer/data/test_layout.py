"""Published trees: found as they unpack, missing parts named by their archive, OCR-VQA's endings mended."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llava_contract.run import Stage
from llava_contract.v1alpha1.data import Layout
from llava_trainer.data.audit import Audit, Source, audit
from llava_trainer.data.conversation import Oddity
from llava_trainer.data.images import find_image
from llava_trainer.data.layout import Part, find_published, published_set
from llava_trainer.data.record import Reason
from llava_trainer.errors import MissingInput
from support.published import fetch, write_tree
from support.rows import image_row, make_image, write_rows

TREES = [(layout, stage) for layout in Layout for stage in (Stage.PRETRAIN, Stage.FINETUNE)]
FOLDERS = [(layout, stage, part) for layout, stage in TREES for part in published_set(layout, stage).folders]


@pytest.mark.parametrize(("layout", "stage"), TREES)
def test_a_whole_tree_is_found_and_sound(tmp_path: Path, layout: Layout, stage: Stage) -> None:
    source = find_published(layout, stage, root=str(write_tree(tmp_path, layout, stage)), fetch=fetch)
    found = audit([source])
    assert (found.num_kept, found.bad_rows) == (1 + len(published_set(layout, stage).folders), ())


@pytest.mark.parametrize(("layout", "stage", "part"), FOLDERS)
def test_a_missing_folder_is_named_with_its_archive(tmp_path: Path, layout: Layout, stage: Stage, part: Part) -> None:
    shutil.rmtree(write_tree(tmp_path, layout, stage) / part.path)
    with pytest.raises(MissingInput) as error:
        find_published(layout, stage, root=str(tmp_path), fetch=fetch)
    assert str(error.value) == f"{tmp_path} holds no {part.path}: fetch {part.archive}, or correct the root."


@pytest.mark.parametrize(("layout", "stage"), TREES)
def test_missing_rows_are_named_with_their_archive(tmp_path: Path, layout: Layout, stage: Stage) -> None:
    annotations = published_set(layout, stage).annotations
    (write_tree(tmp_path, layout, stage) / annotations.path).unlink()
    with pytest.raises(MissingInput, match=f"holds no {annotations.path}"):
        find_published(layout, stage, root=str(tmp_path), fetch=fetch)


def test_the_files_are_those_that_recipes_name(tmp_path: Path) -> None:
    source = find_published(Layout.LLAVA, Stage.FINETUNE, root=f"{write_tree(tmp_path)}/", fetch=fetch)
    assert source.annotations == tmp_path / "LLaVA-Instruct-150K" / "llava_v1_5_mix665k.json"
    assert source.images == tmp_path / "llava_images"


def look(tmp_path: Path, image: str, on_disk: str) -> Audit:
    make_image(tmp_path / on_disk, "P" if on_disk.lower().endswith("gif") else "RGB")
    return audit([Source(write_rows(tmp_path / "rows.json", [image_row(image)]), tmp_path)])


@pytest.mark.parametrize("ending", ["gif", "png", "jpeg", "JPG", "JPEG"])
def test_an_ocr_vqa_image_with_another_ending_is_read_and_counted(tmp_path: Path, ending: str) -> None:
    found = look(tmp_path, "ocr_vqa/images/12.jpg", f"ocr_vqa/images/12.{ending}")
    assert (found.num_kept, dict(found.oddities)[Oddity.ENDING_MENDED]) == (1, 1)


def test_an_ocr_vqa_image_that_is_as_named_is_not_mended(tmp_path: Path) -> None:
    make_image(tmp_path / "ocr_vqa/images/12.png")
    assert look(tmp_path, "ocr_vqa/images/12.jpg", "ocr_vqa/images/12.jpg").oddities == ()


@pytest.mark.parametrize(
    ("image", "on_disk"),
    [
        ("ocr_vqa/images/1.jpg", "ocr_vqa/images/2.gif"),
        ("coco/1.jpg", "coco/1.png"),
        ("ocr_vqa/1.png", "ocr_vqa/1.gif"),
    ],
)
def test_nothing_else_is_taken_for_the_image(tmp_path: Path, image: str, on_disk: str) -> None:
    assert [bad.reason for bad in look(tmp_path, image, on_disk).bad_rows] == [Reason.IMAGE_MISSING]


def test_the_image_that_was_named_comes_first(tmp_path: Path) -> None:
    for ending in ("gif", "jpg"):
        make_image(tmp_path / f"ocr_vqa/1.{ending}", "L")
    assert find_image(tmp_path / "ocr_vqa/1.jpg").suffix == ".jpg"
