"""Prepared sets: what goes in comes out, nothing is prepared twice, and half a set is no set."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llava_trainer.data import shards
from llava_trainer.data.audit import Source
from llava_trainer.data.conversation import Oddity
from llava_trainer.data.images import CLIP_336, open_image, prepare
from llava_trainer.data.prepared import PreparedSet, RowSet, prepare_set
from llava_trainer.data.record import Reason
from llava_trainer.data.sample import Sample, Wording
from llava_trainer.data.shards import ImageSet, ImageWriter, Place, TokenSet, TokenWriter
from llava_trainer.data.template import get_template
from llava_trainer.data.tokenizer import Tokenizer
from llava_trainer.errors import BadData, CorruptState, MissingInput, NoSpace, StorageUnwritable
from support.golden import golden
from support.rows import break_off, image_row, make_image, row, write_rows

SMALL = replace(CLIP_336, size=8, shortest_edge=8)
WORDING = Wording(get_template("vicuna"), Tokenizer(golden("tokenizers/bytelevel_bos")), 200)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    for name in "abc":
        make_image(tmp_path / "images" / f"{name}.png", size=(20 + ord(name) % 7, 11))
    rows = [image_row("a.png", id=1), row("Hi", "Hello."), image_row("b.png"), image_row("a.png"), image_row("no.png")]
    return Source(write_rows(tmp_path / "coco.json", rows), tmp_path / "images")


def prepared(source: Source, wording: Wording = WORDING, **changes: Any) -> PreparedSet:
    return prepare_set(
        RowSet([source]), wording, settings=replace(SMALL, **changes), folder=source.annotations.parent / "out"
    )


def reused(source: Source, wording: Wording = WORDING, **changes: Any) -> tuple[bool, bool]:
    again = prepared(source, wording, **changes)
    return again.reused_images, again.reused_tokens


def test_samples_come_back_in_order(source: Source) -> None:
    tokens = TokenSet.open(prepared(source).tokens)
    samples = tokens.read([2, 0, 1, 0])
    assert [(s.row, s.id, s.num_slots) for s in samples] == [(2, None, 1), (0, "1", 1), (1, None, 0), (0, "1", 1)]
    assert len(tokens) == 4


def test_the_planners_columns_are_those_of_the_samples(source: Source) -> None:
    tokens = TokenSet.open(prepared(source).tokens)
    samples = tokens.read(range(len(tokens)))
    assert tokens.lengths(9).tolist() == [len(s.input_ids) + 8 * s.num_slots for s in samples]
    assert tokens.num_labels.tolist() == [s.num_labels for s in samples]


def test_pixels_come_back_as_prepared(source: Source) -> None:
    done = prepared(source)
    images = ImageSet.open(done.images)
    (first, _, third, _) = TokenSet.open(done.tokens).read(range(4))
    found = images.read([*third.images, *first.images, *third.images])
    assert source.images is not None
    for got, name in zip(found, "bab", strict=True):
        assert np.array_equal(got, np.asarray(prepare(open_image(source.images / f"{name}.png").image, SMALL)))


def test_several_images_of_a_row_keep_their_order(source: Source) -> None:
    assert source.images is not None
    pair = image_row(["b.png", "a.png", "b.png"], "Is <image> like <image>?", "No.", "<image>\n?", "b.")
    write_rows(source.annotations, [pair])
    done = prepared(source)
    (sample,) = TokenSet.open(done.tokens).read([0])
    want = [np.asarray(prepare(open_image(source.images / f"{name}.png").image, SMALL)) for name in "bab"]
    assert sample.num_slots == 3
    assert np.array_equal(ImageSet.open(done.images).read(sample.seen_images), want)


def test_an_image_of_two_rows_is_stored_once(source: Source) -> None:
    assert len(ImageSet.open(prepared(source).images)) == 2


def test_bad_rows_are_left_out_and_named(source: Source) -> None:
    audit = prepared(source).audit
    assert [(bad.row, bad.reason) for bad in audit.bad_rows] == [(4, Reason.IMAGE_MISSING)]
    assert (audit.num_rows, audit.num_kept) == (5, 4)


def test_equal_inputs_are_prepared_once(source: Source) -> None:
    assert reused(source) == (False, False)
    assert reused(source) == (True, True)


def test_a_reused_set_tells_the_same_audit(source: Source) -> None:
    first, second = prepared(source), prepared(source)
    assert (first.audit, first.tokens, first.num_samples) == (second.audit, second.tokens, second.num_samples)


@pytest.mark.parametrize(
    "change",
    [
        {"template": get_template("llama3_chat")},
        {"tokenizer": Tokenizer(golden("tokenizers/qwen2_nobos"))},
        {"max_length": 100},
    ],
)
def test_another_wording_rewrites_no_image(source: Source, change: dict[str, Any]) -> None:
    first = prepared(source)
    other = prepared(source, replace(WORDING, **change))
    assert (other.reused_images, other.reused_tokens, other.images) == (True, False, first.images)
    assert other.audit == first.audit


@pytest.mark.parametrize("change", [{"pad_to_square": False}, {"size": 4}, {"shortest_edge": 12}])
def test_another_preprocessing_prepares_images_again(source: Source, change: dict[str, Any]) -> None:
    prepared(source)
    assert reused(source, **change) == (False, False)


def test_a_changed_image_is_prepared_again(source: Source) -> None:
    prepared(source)
    assert source.images is not None
    os.utime(source.images / "a.png", ns=(1, 1))
    assert reused(source) == (False, False)


def test_an_image_that_turns_up_is_prepared(source: Source) -> None:
    prepared(source)
    assert source.images is not None
    make_image(source.images / "no.png")
    assert not prepared(source).audit.bad_rows


def test_an_ocr_vqa_image_is_prepared_under_the_ending_that_it_has(tmp_path: Path) -> None:
    picture = make_image(tmp_path / "ocr_vqa" / "1.png")
    named = Source(write_rows(tmp_path / "coco.json", [image_row("ocr_vqa/1.jpg")]), tmp_path)
    done = prepared(named)
    (pixels,) = ImageSet.open(done.images).read(TokenSet.open(done.tokens).read([0])[0].images)
    assert np.array_equal(pixels, np.asarray(prepare(open_image(picture).image, SMALL)))
    assert done.audit.oddities == ((Oddity.ENDING_MENDED, 1),)


def test_changed_answers_rewrite_only_tokens(source: Source) -> None:
    prepared(source)
    write_rows(source.annotations, [image_row(f"{n}.png", "<image>?", "new") for n in ("a", "b", "no")])
    assert reused(source) == (True, False)


def test_a_mended_row_brings_its_image(source: Source) -> None:
    write_rows(source.annotations, [image_row("a.png"), image_row("c.png", "no token", "x")])
    prepared(source)
    write_rows(source.annotations, [image_row("a.png"), image_row("c.png")])
    done = prepared(source)
    assert ImageSet.open(done.images).read(TokenSet.open(done.tokens).read([1])[0].images).shape == (1, 8, 8, 3)


def test_weight_repeats_samples_not_rows_of_the_audit(source: Source) -> None:
    done = prepared(replace(source, weight=2.0))
    assert (done.num_samples, done.audit.num_kept) == (8, 4)


def test_text_alone_makes_an_empty_image_set(source: Source) -> None:
    write_rows(source.annotations, [row("a", "b")])
    done = prepared(replace(source, images=None))
    assert ImageSet.open(done.images).read([]).shape == (0, 8, 8, 3)


def test_nothing_to_train_on_is_bad_data_and_leaves_no_token_set(source: Source) -> None:
    write_rows(source.annotations, [image_row("no.png")])
    with pytest.raises(BadData, match=r"none of 1 rows .*coco\.json row 0"):
        prepared(source)
    assert not list((source.annotations.parent / "out" / "tokens").rglob("manifest.json"))


def test_without_a_manifest_there_is_no_set(source: Source) -> None:
    done = prepared(source)
    (Path(done.tokens) / "manifest.json").unlink()
    with pytest.raises(MissingInput, match="no finished set of prepared tokens"):
        TokenSet.open(done.tokens)
    assert reused(source) == (True, False)


def test_a_damaged_shard_is_corrupt_state(source: Source) -> None:
    done = prepared(source)
    break_off(Path(done.images) / "part-00000.parquet")
    images = ImageSet.open(done.images)
    with pytest.raises(CorruptState, match="damaged"):
        images.read(TokenSet.open(done.tokens).read([0])[0].images)


def test_many_shards_read_like_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_PART_BYTES", 1)
    writer, tokens = ImageWriter(Place(tmp_path / "i"), SMALL), TokenWriter(Place(tmp_path / "t"))
    for i in range(300):
        writer.add(f"k{i}", bytes([i % 256]) * 192)
        tokens.add(Sample("a.json", i, None, (f"k{i}",), (i, -200, i), (-100, -100, i)))
    images, samples = writer.finish(), tokens.finish()
    wanted = [299, 0, 150, 31, 32, 33, 0]
    assert images.read([f"k{i}" for i in wanted])[:, 0, 0, 0].tolist() == [i % 256 for i in wanted]
    assert [s.input_ids[0] for s in samples.read(wanted)] == wanted
    assert len(list((tmp_path / "i").glob("part-*"))) > 1


@pytest.mark.parametrize("index", [-1, 4])
def test_there_is_no_sample_outside_the_set(source: Source, index: int) -> None:
    with pytest.raises(IndexError):
        TokenSet.open(prepared(source).tokens).read([index])


def test_two_sources_make_one_set(source: Source, tmp_path: Path) -> None:
    other = Source(write_rows(tmp_path / "text.json", [row("a", "b")]))
    done = prepare_set(RowSet([source, other]), WORDING, settings=SMALL, folder=tmp_path / "out")
    tokens = TokenSet.open(done.tokens)
    assert [s.source for s in tokens.read(range(5))] == ["coco.json"] * 4 + ["text.json"]
    assert tokens.sources == ("coco.json", "text.json")


def test_progress_counts_every_row(source: Source, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    out = tmp_path / "out"
    prepare_set(
        RowSet([source]), WORDING, settings=SMALL, folder=out, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(i, 5) for i in range(1, 6)]


def test_a_folder_that_cannot_be_made_is_unwritable(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnwritable, match="cannot be written"):
        prepare_set(RowSet([source]), WORDING, settings=SMALL, folder=tmp_path / "file")


def test_a_full_disk_has_its_own_name(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards.pq.ParquetWriter, "write_table", full)
    with pytest.raises(NoSpace, match=r"out/images/.*storage is full"):
        prepare_set(RowSet([source]), WORDING, settings=SMALL, folder=tmp_path / "out")


def test_files_alike_in_name_size_and_time_stay_apart(tmp_path: Path) -> None:
    sources = []
    for grey in (0, 255):
        folder = tmp_path / str(grey)
        folder.mkdir()
        Image.new("RGB", (8, 8), (grey,) * 3).save(folder / "a.bmp")
        os.utime(folder / "a.bmp", ns=(1, 1))
        sources.append(Source(write_rows(folder / f"{grey}.json", [image_row("a.bmp")]), folder))
    done = prepare_set(RowSet(sources), WORDING, settings=SMALL, folder=tmp_path / "out")
    keys = [sample.images[0] for sample in TokenSet.open(done.tokens).read([0, 1])]
    assert ImageSet.open(done.images).read(keys).mean(axis=(1, 2, 3)).tolist() == [0, 255]
