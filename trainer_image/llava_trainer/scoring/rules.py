"""How each peer reads an option letter out of a model's free answer, and when a question counts as right.

Two rules are kept side by side, because the same answers score differently under each of them:

- XTuner: the first run of the letters A to D anywhere in the answer.
- VLMEvalKit (exact matching, no judge): a lone option letter, else the phrase "answer is X", else an option's text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llava_trainer.scoring.answers import Answer
from llava_trainer.scoring.benchmark import Benchmark, Question

__all__ = ["RULES", "VLMEVALKIT", "XTUNER", "Grade", "Rule", "grade", "vlmevalkit_letter", "xtuner_letter"]

_FIRST_LETTERS = re.compile("[A-D]+")
_SEPARATORS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_ANSWER_IS = re.compile(r"(?:correct\s+)?answer\s+is\s+\**([a-d])", re.IGNORECASE)
"""No word boundary after the letter: "the answer is dog" reads as D, as it does there."""

_NO_ANSWER = "Failed to obtain answer via API"
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_REFUSED = "Z"
_LAST_TOKENS = 4


@dataclass(frozen=True)
class Rule:
    """A way to read an answer; `version` names the peer's release whose behaviour it is."""

    name: str
    version: str
    read: Callable[[str, Mapping[str, str]], str | None]
    """(answer, {letter: option text}) -> letter, or nothing usable."""

    @property
    def title(self) -> str:
        """Name and version, as tables show them."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Grade:
    """What one rule made of one question: a base row and its rotations."""

    questions: tuple[Question, ...]
    letters: tuple[str | None, ...]
    """What was read from each row's answer, in the order of `questions`."""

    @property
    def base(self) -> Question:
        """The row with the lowest index; category and ability are read from it."""
        return self.questions[0]

    @property
    def num_right(self) -> int:
        """Rows whose letter is the answer."""
        return sum(letter == q.answer for letter, q in zip(self.letters, self.questions, strict=True))

    @property
    def is_hit(self) -> bool:
        """Circular evaluation: every rotation must be right."""
        return self.num_right == len(self.questions)


def grade(rule: Rule, benchmark: Benchmark, answers: Sequence[Answer]) -> tuple[Grade, ...]:
    """Judge every question of a benchmark that has answers, by base index; `answers` cover each row once."""
    assert benchmark.has_answers, benchmark.name
    prediction_of = {a.index: a.prediction for a in answers}
    rotations: dict[int, list[Question]] = defaultdict(list)
    for question in sorted(benchmark.questions, key=lambda q: q.index):
        rotations[question.base_index].append(question)
    return tuple(
        Grade(tuple(rows), tuple(rule.read(prediction_of[q.index], q.options) for q in rows))
        for _, rows in sorted(rotations.items())
    )


def xtuner_letter(answer: str) -> str:
    """Return the first run of letters A to D ("Dog" gives D, "AB" gives AB), or an empty string."""
    match = _FIRST_LETTERS.search(answer)
    return match.group() if match else ""


def vlmevalkit_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """Return an option letter, Z for a refusal, or None where exact matching finds nothing."""
    return vlmevalkit_option_letter(answer, options) or _letter_by_text(answer, options)


def vlmevalkit_option_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """Do the part of `vlmevalkit_letter` that looks for letters only, never for an option's text."""
    if _NO_ANSWER in answer:
        return None
    if any(refusal in answer for refusal in _REFUSALS):
        return _REFUSED
    tokens = answer.translate(_SEPARATORS).split()
    standing = [letter for letter in options if letter in tokens]
    if len(standing) == 1 and tokens.index(standing[0]) >= len(tokens) - _LAST_TOKENS:
        return standing[0]
    if not standing and _REFUSED in tokens:
        return _REFUSED
    match = _ANSWER_IS.search(answer)
    letter = match.group(1).upper() if match else ""
    return letter if letter in options else None


def _letter_by_text(answer: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of the only option whose text stands in a reasonably short answer."""
    lowered = answer.lower()
    if len(lowered) > 2 * sum(len(text) for text in options.values()):
        return None
    found = [letter for letter, text in options.items() if text.lower() in lowered]
    return found[0] if len(found) == 1 else None


XTUNER = Rule("xtuner", "0.2.0", lambda answer, _options: xtuner_letter(answer))
VLMEVALKIT = Rule("vlmevalkit", "e8e78f05", vlmevalkit_letter)
RULES = (XTUNER, VLMEVALKIT)
