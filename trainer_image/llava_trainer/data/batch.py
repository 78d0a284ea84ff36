"""How the samples of one pack become tensors: images expanded to their slots, positions restarting at every sequence.

T = positions of the pack, S = sequences (S + 1 in cu_seqlens), L = labels, I = images given to the tower (at least
one), C = 3, H = W = image size, N = positions that hold image rows = num_images * patches.
"""
# ruff: noqa: N803, N815  (shape suffixes)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from llava_trainer.data.images import ImageSettings, pixels
from llava_trainer.data.sample import IGNORE, IMAGE, Sample

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["Batch", "make_batch", "seen_images"]


@dataclass(frozen=True)
class Batch:
    """What one call of the model takes.

    labels_T[t] is the label of the token AT t (IGNORE = not in the loss): the model shifts. The first position of each
    sequence is always IGNORE, so nothing is predicted across a boundary. Image positions hold token 0 and IGNORE.
    """

    tokens_T: torch.Tensor  # int64
    labels_T: torch.Tensor  # int64
    positions_T: torch.Tensor  # int64, from 0 in each sequence
    cu_seqlens_S1: torch.Tensor  # int32, from 0 to T
    max_seqlen: int
    pixels_ICHW: torch.Tensor  # float32, normalised; one image of zeros when num_images is 0
    num_images: int  # real images in pixels_ICHW
    image_slots_N: torch.Tensor  # int64, ascending: feature row n of the real images goes to position image_slots_N[n]
    source_S: tuple[str, ...]  # file and row of each sequence, for messages
    label_sources_L: torch.Tensor  # int64: which of the set's sources each label is of, in the labels' order

    @property
    def num_labels(self) -> int:
        """Positions that are predicted."""
        return int((self.labels_T != IGNORE).sum())

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on a device."""
        import torch  # noqa: PLC0415

        values = ((item.name, getattr(self, item.name)) for item in fields(self))
        moved = {name: value.to(device, non_blocking=True) for name, value in values if isinstance(value, torch.Tensor)}
        return replace(self, **moved)


def seen_images(samples: Sequence[Sample]) -> list[str]:
    """Names of the images that make_batch wants for these samples, in its order."""
    return [name for sample in samples for name in sample.seen_images]


def make_batch(
    samples: Sequence[Sample],
    images_IHWC: NDArray[np.uint8] | None,
    *,
    patches: int,
    settings: ImageSettings,
    sources: Sequence[str],
) -> Batch:
    """Lay the samples of one pack behind one another; nothing is padded.

    images_IHWC: uint8, the images named by `seen_images(samples)` in that order; None where there are none. An image
    whose token was cut off is not among them: it has no place in the sequence and so no effect. `sources` names all
    sources of the set. Without samples the batch is one position without a label, so that an empty pack runs the same
    modules.
    """
    import torch  # noqa: PLC0415  (preparing and previewing run without torch)

    tokens: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    label_sources: list[int] = []
    ends = [0]
    for sample in samples:
        for token, label in zip(sample.input_ids, sample.labels, strict=True):
            if token == IMAGE:
                slots.extend(range(len(tokens), len(tokens) + patches))
                tokens.extend([0] * patches)
                labels.extend([IGNORE] * patches)
            else:
                tokens.append(token)
                labels.append(label)
        labels[ends[-1]] = IGNORE
        positions.extend(range(len(tokens) - ends[-1]))
        label_sources.extend([sources.index(sample.source)] * sample.num_labels)
        ends.append(len(tokens))
    if not tokens:
        tokens, labels, positions, ends = [0], [IGNORE], [0], [0, 1]
    num_images = len(seen_images(samples))
    assert len(slots) == num_images * patches, (len(slots), num_images, patches)
    return Batch(
        tokens_T=torch.tensor(tokens, dtype=torch.int64),
        labels_T=torch.tensor(labels, dtype=torch.int64),
        positions_T=torch.tensor(positions, dtype=torch.int64),
        cu_seqlens_S1=torch.tensor(ends, dtype=torch.int32),
        max_seqlen=max(end - start for start, end in pairwise(ends)),
        pixels_ICHW=_pixels(images_IHWC, num_images, settings),
        num_images=num_images,
        image_slots_N=torch.tensor(slots, dtype=torch.int64),
        source_S=tuple(f"{sample.source} row {sample.row:,}" for sample in samples),
        label_sources_L=torch.tensor(label_sources, dtype=torch.int64),
    )


def _pixels(images_IHWC: NDArray[np.uint8] | None, num_images: int, settings: ImageSettings) -> torch.Tensor:
    """A blank image is zeros AFTER normalisation, as in the published training."""
    import torch  # noqa: PLC0415

    num_given = 0 if images_IHWC is None else len(images_IHWC)
    assert num_given == num_images, (num_given, num_images)
    if images_IHWC is None or not num_images:
        return torch.zeros(1, 3, settings.size, settings.size)
    return torch.from_numpy(pixels(images_IHWC, settings))
