"""How an image file becomes the square of pixels that the vision tower was trained on, and how a file can fail to be an image.

The arithmetic is that of CLIP's original preprocessing on Pillow, bit for bit.
H = W = size, C = 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What a tower wants: side of the square in pixels, mean and standard deviation a channel (of values in 0..1)."""

    size: int
    shortest_edge: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rescale_factor: float
    resample: int
    pad_to_square: bool

    @classmethod
    def from_folder(cls, folder: Path, *, pad_to_square: bool) -> ImageSettings:
        """Read the tower's preprocessor_config.json."""
        raise NotImplementedError


def prepare(image: Image.Image, settings: ImageSettings) -> Image.Image:
    """Make an RGB image of size x size out of any decoded image."""
    raise NotImplementedError


def pixels(images_IHWC: np.ndarray, settings: ImageSettings) -> np.ndarray:
    """Normalise prepared uint8 images [..., H, W, C] to float32 [..., C, H, W]."""
    raise NotImplementedError
