"""Batches: images expanded as the golden file says, sequences kept apart, empty packs legal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from llava_trainer.data.batch import Batch, make_batch, seen_images
from llava_trainer.data.images import ImageSettings
from llava_trainer.data.sample import IGNORE, Sample
from support.golden import golden

torch = pytest.importorskip("torch")

TINY = ImageSettings(4, 4, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1 / 255, 3, True)
SOURCES = ("coco.json", "text.json")
CASES = [c for c in json.loads(golden("multimodal_expansion.json").read_text()) if "error" not in c]


def sample(
    ids: Sequence[int], labels: Sequence[int] | None = None, *, row: int = 0, images: Sequence[str] = ()
) -> Sample:
    return Sample("coco.json", row, None, tuple(images), tuple(ids), tuple(labels or [IGNORE] * len(ids)))


def batch(*samples: Sample, patches: int = 5) -> Batch:
    images = np.zeros((len(seen_images(samples)), 4, 4, 3), dtype=np.uint8)
    return make_batch(samples, images, patches=patches, settings=TINY, sources=SOURCES)


def golden_samples(case: dict[str, Any]) -> list[Sample]:
    rows = enumerate(case["batch"])
    return [sample(r["input_ids"], r["labels"], row=i, images=["x"] * r["input_ids"].count(-200)) for i, r in rows]


def features(case: dict[str, Any]) -> list[float]:
    """What the golden file put in for the images: -(1000 * (row + 1)) - patch."""
    with_image = [row for row, value in enumerate(case["batch"]) if -200 in value["input_ids"]]
    return [-1000.0 * (row + 1) - patch for row in with_image for patch in range(case["patches"])]


@pytest.mark.parametrize("case", CASES)
def test_golden_order_of_tokens_and_image_rows(case: dict[str, Any]) -> None:
    made = batch(*golden_samples(case), patches=case["patches"])
    embedded = made.tokens_T.double()
    embedded[made.image_slots_N] = torch.tensor(features(case), dtype=torch.float64)
    ends = made.cu_seqlens_S1.tolist()
    for row, (start, end) in enumerate(pairwise(ends)):
        want = case["embeds_first_component"][row]
        assert embedded[start:end].tolist() == want[: end - start]
        assert not any(want[end - start :])


@pytest.mark.parametrize("case", [case for case in CASES if case["labels"]])
def test_golden_labels_and_positions(case: dict[str, Any]) -> None:
    made = batch(*golden_samples(case), patches=case["patches"])
    lengths = [sum(mask) for mask in case["attention_mask"]]
    assert made.labels_T.tolist() == [x for row, n in zip(case["labels"], lengths, strict=True) for x in row[:n]]
    assert made.positions_T.tolist() == [
        x for row, n in zip(case["position_ids"], lengths, strict=True) for x in row[:n]
    ]
    assert made.max_seqlen == max(lengths)


def test_an_empty_pack_is_one_position_without_a_label() -> None:
    made = batch()
    assert (made.tokens_T.tolist(), made.labels_T.tolist(), made.cu_seqlens_S1.tolist()) == ([0], [IGNORE], [0, 1])
    assert (made.num_images, made.num_labels, made.max_seqlen, made.source_S) == (0, 0, 1, ())


@pytest.mark.parametrize("samples", [(), (sample([1, 2, 3]),)])
def test_without_an_image_there_is_a_blank_one(samples: tuple[Sample, ...]) -> None:
    made = batch(*samples)
    assert (made.pixels_ICHW.shape, made.pixels_ICHW.any().item(), made.num_images) == ((1, 3, 4, 4), False, 0)
    assert made.image_slots_N.shape == (0,)


def test_several_images_of_a_row_fill_its_slots_in_order() -> None:
    images = np.stack([np.full((4, 4, 3), grey, dtype=np.uint8) for grey in (0, 255)])
    made = make_batch(
        [sample([1, -200, 2, -200], images=["a", "b"])], images, patches=2, settings=TINY, sources=SOURCES
    )
    assert (made.num_images, made.image_slots_N.tolist()) == (2, [1, 2, 4, 5])
    assert made.pixels_ICHW[:, 0, 0, 0].tolist() == [-1.0, 1.0]


def test_every_label_is_of_a_source() -> None:
    other = Sample("text.json", 0, None, (), (5, 6, 7), (5, IGNORE, 7))
    made = batch(sample([1, 2, 3], [IGNORE, 2, 3]), other, sample([4, -200, 5], [4, IGNORE, 5], images=["a"]))
    assert made.label_sources_L.tolist() == [0, 0, 1, 0]
    assert len(made.label_sources_L) == made.num_labels


def test_images_may_be_none_where_there_are_none() -> None:
    assert make_batch([sample([1, 2])], None, patches=5, settings=TINY, sources=SOURCES).num_images == 0


def test_an_image_whose_token_was_cut_off_is_left_out() -> None:
    made = batch(sample([1, 2, 3], images=["lost"]), sample([4, -200, 5], images=["seen", "lost"]))
    assert seen_images([sample([4, -200, 5], images=["seen", "lost"])]) == ["seen"]
    assert (made.num_images, made.image_slots_N.tolist()) == (1, [4, 5, 6, 7, 8])


def test_nothing_is_predicted_across_a_boundary() -> None:
    assert batch(sample([1, 2], [1, 2]), sample([3, 4], [3, 4])).labels_T.tolist() == [IGNORE, 2, IGNORE, 4]


@pytest.mark.parametrize("ids", [[-200, 1, 2], [1, -200], [-200]])
def test_an_image_may_stand_at_either_end(ids: list[int]) -> None:
    made = batch(sample(ids, images=["a"]))
    assert len(made.tokens_T) == len(ids) + 4
    assert made.labels_T[made.image_slots_N].eq(IGNORE).all()


def test_labels_agree_with_the_planners_count() -> None:
    samples = [sample([1, 2, 3], [IGNORE, 2, 3]), sample([4, -200, 5], [4, IGNORE, 5], images=["a"])]
    assert batch(*samples).num_labels == sum(s.num_labels for s in samples)


def test_pixels_are_normalised() -> None:
    images = np.full((1, 4, 4, 3), 255, dtype=np.uint8)
    made = make_batch([sample([-200], images=["a"])], images, patches=5, settings=TINY, sources=SOURCES)
    assert (made.pixels_ICHW.dtype, made.pixels_ICHW.unique().tolist()) == (torch.float32, [1.0])


def test_types_are_those_that_the_model_takes() -> None:
    made = batch(sample([1, -200], images=["a"]))
    names = ("tokens_T", "labels_T", "positions_T", "image_slots_N")
    assert {getattr(made, name).dtype for name in names} == {torch.int64}
    assert made.cu_seqlens_S1.dtype is torch.int32


def test_every_sequence_knows_its_row() -> None:
    assert batch(sample([1], row=41207), sample([2], row=3)).source_S == ("coco.json row 41,207", "coco.json row 3")
