"""Where prepared data lie: Parquet shards named by what they were made from, so that equal inputs are never prepared twice.

Two kinds of sets, each a folder `<key>/` of `part-*.parquet` and a `manifest.json` that is written last and alone makes the set
exist. An ImageSet holds prepared uint8 pixels; a TokenSet holds samples, which name their images by key. Another template or
tokenizer makes a new TokenSet and touches no image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llava_trainer.data.images import ImageSettings
from llava_trainer.data.sample import Sample

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


@dataclass(frozen=True)
class Written:
    """What a write did: the set's key, its folder, and whether an equal set was there already."""

    key: str
    folder: str
    num_items: int
    reused: bool


class ImageSet:
    """Prepared images by key."""

    @classmethod
    def open(cls, folder: str | Path) -> ImageSet:
        """Read the manifest and index of a finished set; MissingInput when there is none."""
        raise NotImplementedError

    @property
    def settings(self) -> ImageSettings:
        """How the images were prepared."""
        raise NotImplementedError

    def read(self, keys: Sequence[str]) -> np.ndarray:
        """Give uint8 [I, H, W, C], one image a key, repeats allowed; I = 0 for no keys."""
        raise NotImplementedError


class TokenSet:
    """Samples by index, with the columns that a planner needs in memory."""

    @classmethod
    def open(cls, folder: str | Path) -> TokenSet:
        """Read the manifest and index of a finished set; MissingInput when there is none."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def num_labels(self) -> Sequence[int]:
        """Predicted tokens of each sample."""
        raise NotImplementedError

    @property
    def num_slots(self) -> Sequence[int]:
        """Images of each sample that the model sees."""
        raise NotImplementedError

    def lengths(self, patches: int) -> Sequence[int]:
        """Positions of each sample once its images are expanded."""
        raise NotImplementedError

    def read(self, indices: Sequence[int]) -> list[Sample]:
        """Give the samples at `indices`, in that order; Sample.images are keys of the ImageSet."""
        raise NotImplementedError


def write_images(items: Iterable[tuple[str, bytes]], folder: Path) -> Written:
    """(To come.)"""
    raise NotImplementedError


def write_tokens(samples: Iterable[Sample], folder: Path) -> Written:
    """(To come.)"""
    raise NotImplementedError
