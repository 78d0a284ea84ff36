"""How a conversation becomes token ids and labels: what is in the loss, where BOS, EOS, suffix and separator stand.

Shapes: a sample has T tokens; an image counts as one token, IMAGE, until batch.py gives it its patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

from llava_trainer.data.conversation import IMAGE_TOKEN, Conversation
from llava_trainer.data.template import PromptTemplate
from llava_trainer.data.tokenizer import Tokenizer

__all__ = ["IGNORE", "IMAGE", "DropReason", "Dropped", "Sample", "Wording", "tokenise"]

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

    `input_ids` and `labels` have T entries each; labels[t] is input_ids[t] or IGNORE. `images` names the row's
    images, as the row does or, once they are stored, by their keys in an ImageSet; the i-th IMAGE token stands for
    images[i], and images past `num_slots` lost their token to truncation.
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


@dataclass(frozen=True)
class Wording:
    """How conversations become tokens: template, tokenizer, and the limit in tokens with an image counting as one."""

    template: PromptTemplate
    tokenizer: Tokenizer
    max_length: int

    @property
    def digest(self) -> str:
        """Equal digests mean equal tokens for equal conversations."""
        return f"{self.template!r} {self.tokenizer.digest} {self.max_length}"


def tokenise(conversation: Conversation, wording: Wording) -> Sample | Dropped:
    """Write a conversation down as token ids and say which of them are learnt.

    Instruction, answer with suffix, and separator are encoded apart, without special tokens. A turn that must open
    with BOS gets it where the tokenizer has one; an answer that no suffix ends gets EOS. `max_length` counts tokens,
    an image as one, and cuts on the right.
    """
    input_ids: list[int] = []
    labels: list[int] = []

    def put(ids: Sequence[int], *, learnt: bool) -> None:
        input_ids.extend(ids)
        labels.extend(ids if learnt else [IGNORE] * len(ids))

    template, tokenizer = wording.template, wording.tokenizer
    opens_text = True
    for turn, exchange in enumerate(conversation.exchanges, start=1):
        if opens_text and tokenizer.bos_id is not None:
            put([tokenizer.bos_id], learnt=False)
        instruction = template.wrap(exchange.instruction, turn=turn)
        put(
            _encode_with_images(instruction, tokenizer) if conversation.images else tokenizer.encode(instruction),
            learnt=False,
        )
        put(tokenizer.encode(exchange.answer + template.suffix), learnt=True)
        opens_text = not template.suffix_is_eos
        if opens_text and tokenizer.eos_id is not None:
            put([tokenizer.eos_id], learnt=True)
        if template.separator:
            put(tokenizer.encode_constant(template.separator), learnt=False)

    origin = conversation.source, conversation.row, conversation.id
    sample = Sample(
        *origin, conversation.images, tuple(input_ids[: wording.max_length]), tuple(labels[: wording.max_length])
    )
    if sample.num_labels:
        return sample
    if not conversation.exchanges:
        return Dropped(*origin, DropReason.NO_ANSWER)
    was_cut = any(label != IGNORE for label in labels)
    return Dropped(*origin, DropReason.LABELS_CUT_OFF if was_cut else DropReason.NO_LABELS)


def _encode_with_images(text: str, tokenizer: Tokenizer) -> list[int]:
    first, *rest = text.split(IMAGE_TOKEN)
    ids = list(tokenizer.encode(first))
    for chunk in rest:
        ids += [IMAGE, *tokenizer.encode(chunk)]
    return ids
