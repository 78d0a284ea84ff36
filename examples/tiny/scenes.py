"""How a picture of the tiny world is drawn from its facts, and which split may draw which picture.

Shape legend: H height, W width (64 pixels each), 3 colours.
"""
# ruff: noqa: N803, N806, N815  a shape is part of the name

from __future__ import annotations

import functools
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Split = Literal["towers", "demo", "eval"]
Kind = Literal["digit", "shape", "dots"]
Item = TypeVar("Item")

SIDE = 64
COLOURS = {
    "red": (215, 40, 40),
    "green": (40, 165, 60),
    "blue": (45, 75, 215),
    "yellow": (235, 215, 50),
    "purple": (140, 50, 170),
    "orange": (240, 140, 35),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
}
SHAPES = ("circle", "square", "triangle", "diamond", "ring", "cross")
PLACES = {
    "top left": (17, 17),
    "top right": (47, 17),
    "bottom left": (17, 47),
    "bottom right": (47, 47),
    "middle": (32, 32),
}
COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
DIGITS = tuple("0123456789")
# Of every nine consecutive digit images: six for the towers, two for the demo's training, one for its evaluation.
SPLIT_OF_NINTH: tuple[Split, ...] = ("towers",) * 6 + ("demo",) * 2 + ("eval",)


@dataclass(frozen=True)
class Facts:
    """What is true of a picture; `place` is empty unless it shows a shape."""

    kind: Kind
    subject: str
    colour: str
    place: str


@dataclass(frozen=True)
class Scene:
    """One picture and its facts."""

    facts: Facts
    pixels_HW3: NDArray[np.uint8]

    def jpeg(self) -> bytes:
        """Encode the picture as a JPEG file without chroma subsampling."""
        buffer = io.BytesIO()
        Image.fromarray(self.pixels_HW3).save(buffer, "JPEG", quality=92, subsampling=0)
        return buffer.getvalue()


@functools.cache
def _digit_images() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from sklearn.datasets import load_digits  # noqa: PLC0415  scikit-learn takes seconds to import

    digits = load_digits()
    return digits.images, digits.target


@functools.cache
def digit_indices(split: Split, digit: str) -> tuple[int, ...]:
    """The rows of scikit-learn's digit images that show a digit and belong to a split."""
    labels = _digit_images()[1]
    return tuple(i for i in range(len(labels)) if SPLIT_OF_NINTH[i % 9] == split and str(labels[i]) == digit)


def rng_of(split: Split, purpose: str, seed: int = 0) -> np.random.Generator:
    """A stream of random numbers that no other split, purpose or seed shares."""
    return np.random.default_rng([seed, zlib.crc32(f"{split}/{purpose}".encode())])


def imagine(rng: np.random.Generator, kind: Kind | None = None) -> Facts:
    """Facts drawn at random, of the given kind or of any."""
    kind = kind or pick(rng, ("digit", "shape", "dots"))
    subjects = {"digit": DIGITS, "shape": SHAPES, "dots": tuple(COUNTS)}[kind]
    place = pick(rng, tuple(PLACES)) if kind == "shape" else ""
    return Facts(kind, pick(rng, subjects), pick(rng, tuple(COLOURS)), place)


def draw(split: Split, rng: np.random.Generator, facts: Facts | None = None) -> Scene:
    """Draw one picture of a split, of the given facts or of facts drawn at random."""
    facts = facts or imagine(rng)
    if facts.kind == "digit":
        alpha_HW = _digit_mask(split, facts.subject, rng)
    elif facts.kind == "shape":
        alpha_HW = _shape_mask(facts.subject, facts.place, rng)
    else:
        alpha_HW = _dots_mask(COUNTS[facts.subject], rng)
    return Scene(facts, _paint(alpha_HW, facts.colour, rng))


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """One item, each as likely as the others."""
    return items[int(rng.integers(len(items)))]


def _digit_mask(split: Split, digit: str, rng: np.random.Generator) -> NDArray[np.float64]:
    image_88 = _digit_images()[0][pick(rng, digit_indices(split, digit))]
    ink = Image.fromarray(np.minimum(image_88 * 17, 255).astype(np.uint8))
    side = int(rng.integers(48, 62))
    left, top = rng.integers(0, SIDE - side + 1, 2)
    alpha_HW = np.zeros((SIDE, SIDE))
    alpha_HW[top : top + side, left : left + side] = (
        np.asarray(ink.resize((side, side), Image.Resampling.BICUBIC)) / 255
    )
    return np.minimum(alpha_HW * 1.2, 1)


def _shape_mask(shape: str, place: str, rng: np.random.Generator) -> NDArray[np.float64]:
    x, y = np.asarray(PLACES[place]) + rng.uniform(-2, 2, 2)
    r, angle = rng.uniform(11.5, 15), rng.uniform(-0.15, 0.15)
    row_HW, column_HW = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    u = (column_HW - x) * np.cos(angle) + (row_HW - y) * np.sin(angle)
    v = (row_HW - y) * np.cos(angle) - (column_HW - x) * np.sin(angle)
    a, b = np.abs(u), np.abs(v)
    outside = {
        "circle": np.hypot(u, v) - r,
        "ring": np.abs(np.hypot(u, v) - 0.78 * r) - 0.24 * r,
        "square": np.maximum(a, b) - 0.85 * r,
        "diamond": (a + b - 1.15 * r) * 0.7071,
        "triangle": np.maximum(v, a * 0.866 - v * 0.5) - 0.58 * r,
        "cross": np.minimum(np.maximum(a - 0.3 * r, b - r), np.maximum(a - r, b - 0.3 * r)),
    }[shape]
    return np.clip(0.5 - outside, 0, 1)


def _dots_mask(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    centres: list[NDArray[np.float64]] = []
    while len(centres) < count:
        centre = rng.uniform(8, SIDE - 8, 2)
        if all(np.hypot(*(centre - other)) > 15 for other in centres):
            centres.append(centre)
    row_HW, column_HW = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    r = rng.uniform(4.5, 5.5)
    return np.max([np.clip(r + 0.5 - np.hypot(column_HW - x, row_HW - y), 0, 1) for x, y in centres], axis=0)


def _paint(alpha_HW: NDArray[np.float64], colour: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blend a colour over a noisy grey ground; neither black nor white is ever as grey as the ground."""
    ground = rng.uniform(100, 150) + rng.uniform(-8, 8, 3)
    ink = np.asarray(COLOURS[colour]) + rng.uniform(-12, 12, 3)
    picture = ground + alpha_HW[..., None] * (ink - ground) + rng.normal(0, 4, (SIDE, SIDE, 3))
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
