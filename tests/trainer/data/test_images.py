"""Images: prepared exactly as the golden files say, and every broken file is named for what it is."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llava_trainer.data.conversation import Oddity
from llava_trainer.data.images import CLIP_336, BadImage, ImageSettings, open_image, pixels, prepare
from llava_trainer.data.record import Reason
from llava_trainer.errors import BadData, MissingInput
from support.golden import golden
from support.rows import break_off, make_bomb, make_image

WANT = json.loads(golden("images.json").read_text())


def settings_from(tmp_path: Path, *, pad: bool, **changes: Any) -> ImageSettings:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**WANT["processor"], **changes}))
    return ImageSettings.from_folder(tmp_path, pad_to_square=pad)


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("want", WANT["images"], ids=[want["file"] for want in WANT["images"]])
def test_golden_pixels(tmp_path: Path, want: dict[str, Any], pad: bool) -> None:
    settings = settings_from(tmp_path, pad=pad)
    image = prepare(open_image(golden(f"images/{want['file']}")).image, settings)
    values = pixels(np.asarray(image), settings)
    expected = want["pad" if pad else "nopad"]
    assert list(values.shape) == expected["shape"]
    assert np.array_equal(np.round(values[:, ::48, ::48].astype(float), 5), expected["grid_every_48"])
    assert np.allclose(values.mean(axis=(1, 2)), expected["mean"], atol=3e-7)
    assert np.allclose(values.std(axis=(1, 2)), expected["std"], atol=3e-7)


@pytest.mark.parametrize("want", WANT["images"], ids=[want["file"] for want in WANT["images"]])
def test_golden_squares(want: dict[str, Any]) -> None:
    image = open_image(golden(f"images/{want['file']}")).image
    side = max(image.size)
    square = Image.new("RGB", (side, side), CLIP_336.fill)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    assert hashlib.sha256(square.tobytes()).hexdigest() == want["pad"]["square_sha256"]


@pytest.mark.parametrize("pad", [True, False])
def test_golden_bytes_of_the_training_set(pad: bool) -> None:
    load_file = pytest.importorskip("safetensors.numpy").load_file
    folder = golden("training/data")
    want = load_file(folder / f"pixels_{'pad' if pad else 'nopad'}_uint8.safetensors")["resized"]
    settings = ImageSettings.from_folder(golden("training/models/clip"), pad_to_square=pad)
    for row, value in enumerate(json.loads((folder / "rows.json").read_text("utf-8"))):
        if value.get("image"):
            image = prepare(open_image(folder / "images" / value["image"]).image, settings)
            assert np.array_equal(np.asarray(image), want[row])


BROKEN = [
    (lambda p: p, Reason.IMAGE_MISSING, "is missing"),
    (lambda p: p.mkdir(), Reason.NOT_AN_IMAGE, "is a folder"),
    (os.mkfifo, Reason.NOT_AN_IMAGE, "is a pipe, socket or device"),
    (lambda p: p.symlink_to(p), Reason.NOT_AN_IMAGE, "symbolic links"),
    (lambda p: p.touch(), Reason.NOT_AN_IMAGE, "an empty file"),
    (lambda p: p.write_text("<!DOCTYPE html><p>Not found"), Reason.NOT_AN_IMAGE, "a web page"),
    (lambda p: p.write_bytes(b"x" * 5000), Reason.NOT_AN_IMAGE, "5,000 bytes, not an image"),
    (lambda p: break_off(make_image(p, size=(200, 200))), Reason.IMAGE_TRUNCATED, "truncated or damaged"),
    (make_bomb, Reason.DECOMPRESSION_BOMB, "more than"),
]


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize(("spoil", "reason", "words"), BROKEN)
def test_a_broken_file_is_named_for_what_it_is(
    tmp_path: Path, spoil: Any, reason: Reason, words: str, name: str
) -> None:
    spoil(tmp_path / name)
    with pytest.raises(BadImage) as bad:
        open_image(tmp_path / name)
    assert bad.value.reason is reason
    assert words in str(bad.value)


def test_a_bomb_just_over_the_limit_is_one_too(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="pixels"):
        open_image(make_bomb(tmp_path / "a.png", side=9_500))


@pytest.mark.parametrize("share", [0.02, 0.2, 0.6, 0.9, 0.95])
@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "webp", "tiff"])
def test_no_cut_leaves_a_file_that_passes_or_a_strange_error(tmp_path: Path, ending: str, share: float) -> None:
    path = break_off(make_image(tmp_path / f"a.{ending}", size=(150, 150)), share)
    with pytest.raises(BadImage):
        open_image(path)


@pytest.mark.parametrize(
    ("mode", "ending", "oddities"),
    [
        ("CMYK", "jpg", (Oddity.CMYK_IMAGE,)),
        ("I;16", "png", (Oddity.SIXTEEN_BIT_IMAGE,)),
        ("I;16", "tiff", (Oddity.SIXTEEN_BIT_IMAGE,)),
        ("P", "png", (Oddity.PALETTE_IMAGE,)),
        ("P", "gif", (Oddity.PALETTE_IMAGE,)),
        ("RGBA", "png", (Oddity.TRANSPARENT_IMAGE,)),
        ("LA", "png", (Oddity.TRANSPARENT_IMAGE,)),
        ("L", "jpg", ()),
        ("1", "png", ()),
        ("RGB", "webp", ()),
    ],
)
def test_every_kind_of_image_is_decoded_and_its_oddity_named(
    tmp_path: Path, mode: str, ending: str, oddities: tuple[Oddity, ...]
) -> None:
    opened = open_image(make_image(tmp_path / f"a.{ending}", mode))
    assert opened.oddities == oddities
    assert (opened.image.mode, opened.image.size) == ("RGB", (40, 30))


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_sixteen_bits_keep_their_upper_half(tmp_path: Path, ending: str) -> None:
    deep = open_image(make_image(tmp_path / f"deep.{ending}", "I;16")).image
    flat = open_image(make_image(tmp_path / "flat.png", "L")).image
    assert np.array_equal(np.asarray(deep), np.asarray(flat))


def test_alpha_is_dropped_without_blending(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (200, 100, 50, 0)).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").image.getpixel((0, 0)) == (200, 100, 50)


@pytest.mark.parametrize("pad", [True, False])
def test_a_ribbon_is_refused_before_it_fills_the_memory(tmp_path: Path, pad: bool) -> None:
    settings = settings_from(tmp_path, pad=pad)
    with pytest.raises(BadImage, match="would need"):
        prepare(Image.new("RGB", (60_000, 1)), settings)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": {"shortest_edge": 100}}, "crops 336"),
        ({"image_mean": [1, 2]}, "cannot be read"),
        ({"size": {}}, "cannot"),
    ],
)
def test_a_preprocessor_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadData, match=words):
        settings_from(tmp_path, pad=True, **changes)


def test_without_a_preprocessor_there_are_no_settings(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="preprocessor_config"):
        ImageSettings.from_folder(tmp_path, pad_to_square=True)


def test_settings_survive_a_manifest(tmp_path: Path) -> None:
    settings = settings_from(tmp_path, pad=True)
    assert ImageSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_only_what_changes_the_stored_pixels_changes_the_digest(tmp_path: Path) -> None:
    plain = settings_from(tmp_path, pad=False)
    assert plain.digest == settings_from(tmp_path, pad=False, image_mean=[0.5, 0.5, 0.5]).digest
    assert plain.digest != settings_from(tmp_path, pad=True).digest


SIGLIP = {
    "image_processor_type": "SiglipImageProcessor", "do_resize": True, "size": {"height": 16, "width": 16},
    "resample": 3, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
    "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
}  # fmt: skip


@pytest.mark.parametrize("size", [(40, 30), (16, 16), (9, 50)])
def test_a_siglip_processor_gives_the_pixels_of_transformers(size: tuple[int, int], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(SIGLIP))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    settings = ImageSettings.from_folder(tmp_path, pad_to_square=False)
    theirs = transformers.SiglipImageProcessorPil.from_pretrained(tmp_path)(image, return_tensors="np")
    ours = pixels(np.asarray(prepare(image, settings)), settings)
    assert np.allclose(ours, theirs["pixel_values"][0], atol=1e-6)


def test_a_stretched_image_is_not_a_cropped_one(tmp_path: Path) -> None:
    digests = set()
    for changes in ({}, {"do_center_crop": True, "crop_size": {"height": 16, "width": 16}}):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(SIGLIP | changes))
        digests.add(ImageSettings.from_folder(tmp_path, pad_to_square=False).digest)
    assert len(digests) == 2
