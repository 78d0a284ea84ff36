"""How a conversation becomes token ids and labels: what is in the loss, where BOS, EOS, suffix and separator stand.

Shapes: a sample has T tokens; an image counts as one token, IMAGE, until batch.py gives it its patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

IGNORE: Final = -100  # label of a token that is not in the loss
IMAGE: Final = -200  # token id that stands for a whole image


class DropReason(StrEnum):
    """Why a sound row teaches nothing; such rows are left out and counted."""

    NO_ANSWER = "no-answer"
    LABELS_CUT_OFF = "labels-cut-off"
    NO_LABELS = "no-labels"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that was left out because no token of it would be in the loss."""

    source: str
    row: int
    id: str | None
    reason: DropReason


@dataclass(frozen=True)
class Sample:
    """One row as the model sees it.

    `input_ids` and `labels` have T entries each; labels[t] is input_ids[t] or IGNORE. `images` names the row's images, as
    the row does or, once they are stored, by their keys in an ImageSet; the i-th IMAGE token stands for images[i], and images
    past `num_slots` lost their token to truncation.
    """

    source: str
    row: int
    id: str | None
    images: tuple[str, ...]
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def num_images(self) -> int:
        """How many images the row names, shown to the model or not."""
        return len(self.images)

    @cached_property
    def num_slots(self) -> int:
        """How many image tokens survived truncation."""
        return self.input_ids.count(IMAGE)

    @property
    def seen_images(self) -> tuple[str, ...]:
        """The images that the model will see, in the order of their tokens."""
        return self.images[: self.num_slots]

    @cached_property
    def num_labels(self) -> int:
        """How many positions are predicted; nothing predicts a sequence's first token."""
        return len(self.labels[1:]) - self.labels[1:].count(IGNORE)

    def expanded_length(self, patches: int) -> int:
        """Positions in the LLM once every image token has become `patches` rows."""
        return len(self.input_ids) + self.num_slots * (patches - 1)
