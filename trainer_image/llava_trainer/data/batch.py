"""How the samples of one pack become tensors: images expanded to their slots, positions restarting at every sequence.

T = positions of the pack, S = sequences (+ 1 in cu_seqlens), I = images given to the tower (at least one), C = 3, H = W = image
size, N = positions that hold image rows = num_images * patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llava_trainer.data.images import ImageSettings
from llava_trainer.data.sample import Sample

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class Batch:
    """What one call of the model takes.

    labels_T[t] is the label of the token AT t (IGNORE = not in the loss): the model shifts; the first position of each sequence
    is always IGNORE, so nothing is predicted across a boundary. pixels_ICHW holds one blank image when num_images is 0.
    source_S names file and row of each sequence.
    """

    tokens_T: torch.Tensor  # int64, 0 where an image row goes
    labels_T: torch.Tensor  # int64
    positions_T: torch.Tensor  # int64, from 0 in each sequence
    cu_seqlens_S1: torch.Tensor  # int32
    max_seqlen: int
    pixels_ICHW: torch.Tensor  # float32
    num_images: int
    image_slots_N: torch.Tensor  # int64, ascending; feature row n of the real images goes to position image_slots_N[n]
    source_S: tuple[str, ...]


def make_batch(samples: Sequence[Sample], images_IHWC: np.ndarray, *, patches: int, settings: ImageSettings) -> Batch:
    """Lay the samples of one pack behind one another.

    images_IHWC: uint8, one for each name in `seen_images` of each sample, in order; may be empty. No samples at all: one
    position without a label, so that an empty pack runs the same modules. Nothing else is masked or padded.
    """
    raise NotImplementedError
