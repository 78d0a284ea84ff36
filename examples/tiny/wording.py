"""How the tiny world is talked about: captions, questions, options and the prompt of a multiple choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scenes import COLOURS, COUNTS, DIGITS, PLACES, SHAPES, Facts, Kind, pick

LETTERS = "ABCD"
SUFFIX = "Answer with the option's letter from the given choices directly."
CAPTION_REQUESTS = (
    "Describe the picture.",
    "What does the picture show?",
    "Say in a few words what is here.",
    "Give the picture a caption.",
)


@dataclass(frozen=True)
class Ability:
    """One thing that can be asked: its MMBench names, wordings, possible answers, and the answer of a picture."""

    category: str
    l2_category: str
    questions: tuple[str, ...]
    values: tuple[str, ...]
    kinds: tuple[Kind, ...]
    answer: Callable[[Facts], str]


def _subject(facts: Facts) -> str:
    return facts.subject


ABILITIES = (
    Ability(
        "digit_reading",
        "finegrained_perception (instance-level)",
        ("Which digit is written here?", "Which number can be read?", "What digit does the picture show?"),
        DIGITS,
        ("digit",),
        _subject,
    ),
    Ability(
        "object_shape",
        "attribute_reasoning",
        ("What shape is it?", "Which shape can be seen?", "What kind of shape is drawn?"),
        SHAPES,
        ("shape",),
        _subject,
    ),
    Ability(
        "object_colour",
        "coarse_perception",
        ("What colour is it?", "Which colour is used?", "In which colour is it drawn?"),
        tuple(COLOURS),
        ("digit", "shape", "dots"),
        lambda facts: facts.colour,
    ),
    Ability(
        "object_place",
        "relation_reasoning",
        ("Where is the shape?", "In which part of the picture is it?", "At which place is the shape drawn?"),
        tuple(PLACES),
        ("shape",),
        lambda facts: facts.place,
    ),
    Ability(
        "object_count",
        "finegrained_perception (cross-instance)",
        ("How many dots are there?", "What is the number of dots?", "How many dots can be counted?"),
        tuple(COUNTS),
        ("dots",),
        _subject,
    ),
)
HINTS: dict[Kind, str] = {
    "digit": "Somebody wrote a digit by hand.",
    "shape": "There is one shape on a grey ground.",
    "dots": "There are some dots on a grey ground.",
}


@dataclass(frozen=True)
class Choice:
    """A multiple-choice question: its options in order and the place of the right one."""

    ability: Ability
    question: str
    options: tuple[str, ...]
    right: int
    hint: str = ""

    @property
    def letter(self) -> str:
        """The letter of the right option."""
        return LETTERS[self.right]

    def rotated(self, by: int) -> Choice:
        """The same question with its options moved round by some places."""
        options = tuple(self.options[(i + by) % len(self.options)] for i in range(len(self.options)))
        return Choice(self.ability, self.question, options, (self.right - by) % len(self.options), self.hint)

    def prompt(self) -> str:
        """The text that stands after the image: hint, question, options and the request for a letter."""
        lines = [self.hint] if self.hint else []
        lines += [self.question, *(f"{letter}. {text}" for letter, text in zip(LETTERS, self.options, strict=True))]
        return "\n".join([*lines, SUFFIX])


def abilities_of(kind: Kind) -> tuple[Ability, ...]:
    """What can be asked about a picture of a kind."""
    return tuple(ability for ability in ABILITIES if kind in ability.kinds)


def caption(facts: Facts, rng: np.random.Generator) -> str:
    """One sentence or phrase that says everything about a picture."""
    if facts.kind == "digit":
        forms = ("a {colour} digit {subject}", "the digit {subject} in {colour}")
    elif facts.kind == "shape":
        forms = ("a {colour} {subject} at the {place}", "{colour} {subject}, {place}")
    else:
        forms = ("{subject} {colour} dots", "a picture of {subject} {colour} dots")
    return pick(rng, forms).format(subject=facts.subject, colour=facts.colour, place=facts.place)


def ask(facts: Facts, ability: Ability, rng: np.random.Generator) -> Choice:
    """A four-option question; the wrong options are other values of the same ability, so no option stands out."""
    answer = ability.answer(facts)
    wrong = [value for value in ability.values if value != answer]
    options = [wrong[i] for i in rng.permutation(len(wrong))[:3]]
    right = int(rng.integers(4))
    options.insert(right, answer)
    hint = HINTS[facts.kind] if rng.random() < 0.25 else ""
    return Choice(ability, pick(rng, ability.questions), tuple(options), right, hint)
