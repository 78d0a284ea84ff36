"""How the turns of a row become instructions with answers, and which rows contradict themselves about their images."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from llava_trainer.data.record import BadRow, Reason, Record, Role

__all__ = ["IMAGE_TOKEN", "Conversation", "Exchange", "Oddity", "normalise"]

IMAGE_TOKEN: Final = "<image>"  # noqa: S105  (a place in a text, not a secret)


class Oddity(StrEnum):
    """Something about a usable row that its author should know; counted, never fatal."""

    LEADING_GPT = "leading-gpt"  # answers before the first question, left out
    TRAILING_HUMAN = "trailing-human"  # a question without an answer at the end, left out
    SEVERAL_TOKENS = "several-tokens"  # one value of a one-image row held more than one <image>: one was kept
    ENDING_MENDED = "ending-mended"  # an OCR-VQA row says .jpg, its image has another ending and was read
    CMYK_IMAGE = "cmyk-image"
    SIXTEEN_BIT_IMAGE = "sixteen-bit-image"
    PALETTE_IMAGE = "palette-image"
    TRANSPARENT_IMAGE = "transparent-image"  # the alpha channel is dropped without blending, as in training so far


@dataclass(frozen=True, slots=True)
class Exchange:
    """One instruction and its answer; <image> is an image in the instruction, plain text in the answer."""

    instruction: str
    answer: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row in the form that is trained on; each <image> of its instructions stands for the next of `images`."""

    source: str
    row: int
    id: str | None
    images: tuple[str, ...]
    exchanges: tuple[Exchange, ...]
    oddities: tuple[Oddity, ...] = ()


def normalise(record: Record) -> Conversation | BadRow:
    """Pair every answer with the human turns before it.

    Leading answers and a trailing question are left out. Human turns in a row are joined without a separator; an answer
    that follows an answer gets an empty instruction. A human value with the image token is stripped and gets the token
    in front.
    """
    first = next((i for i, turn in enumerate(record.turns) if turn.role is Role.HUMAN), len(record.turns))
    turns = record.turns[first:]
    exchanges: list[Exchange] = []
    waiting: list[str] = []
    joined_tokens, most_tokens, several = False, 0, len(record.images) > 1
    for turn in turns:
        if turn.role is Role.HUMAN:
            num_tokens = turn.value.count(IMAGE_TOKEN)
            most_tokens = max(most_tokens, num_tokens)
            waiting.append(_place_tokens(turn.value, num_tokens, several=several) if num_tokens else turn.value)
            continue
        joined_tokens |= len(waiting) > 1 and sum(IMAGE_TOKEN in value for value in waiting) > 1
        exchanges.append(Exchange("".join(waiting), turn.value))
        waiting = []
    odd = {
        Oddity.LEADING_GPT: first > 0 and bool(turns),
        Oddity.TRAILING_HUMAN: bool(waiting),
        Oddity.SEVERAL_TOKENS: len(record.images) == 1 and most_tokens > 1,
    }
    conversation = Conversation(
        record.source,
        record.row,
        record.id,
        record.images,
        tuple(exchanges),
        tuple(name for name, is_so in odd.items() if is_so),
    )
    wrong = _contradiction(conversation, joined_tokens=joined_tokens)
    return conversation if wrong is None else BadRow(record.source, record.row, record.id, *wrong)


def _place_tokens(value: str, num_tokens: int, *, several: bool) -> str:
    if several and num_tokens > 1:
        return value.strip()  # with several images their places in the text carry meaning
    rest = value.replace(IMAGE_TOKEN, "").strip()
    return f"{IMAGE_TOKEN}\n{rest}".strip()


def _contradiction(conversation: Conversation, *, joined_tokens: bool) -> tuple[Reason, str] | None:
    """Compare the images that a row names with the tokens that ask for one; rows without an answer are not judged."""
    if not conversation.exchanges:
        return None
    num_images = len(conversation.images)
    counts = [exchange.instruction.count(IMAGE_TOKEN) for exchange in conversation.exchanges]
    num_tokens = sum(counts)
    match num_images, num_tokens:
        case _ if num_images == num_tokens:
            wrong = None
        case 0, _:
            wrong = Reason.TOKEN_WITHOUT_IMAGE, "a human value holds <image>, but the row names no image"
        case _, 0:
            name = conversation.images[0]
            wrong = Reason.IMAGE_WITHOUT_TOKEN, f"the row names image {name}, but no answered human value holds <image>"
        case 1, _ if joined_tokens:
            wrong = Reason.TOKENS_IN_JOINED_TURNS, "consecutive human turns hold <image> more than once for one image"
        case 1, _:
            wrong = Reason.TOKENS_IN_SEVERAL_TURNS, f"{sum(map(bool, counts))} human turns hold <image> for one image"
        case _:
            wrong = Reason.TOKEN_COUNT, f"the row names {num_images} images, but holds <image> {num_tokens} times"
    return wrong
