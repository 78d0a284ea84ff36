"""Both rules read every golden answer as the peers' own code did."""

from __future__ import annotations

import json

import pytest

from llava_trainer.scoring.rules import vlmevalkit_letter, vlmevalkit_option_letter, xtuner_letter
from support.golden import golden

UNIT = json.loads(golden("mmbench/matching_unit.json").read_text(encoding="utf-8"))
CASES = [pytest.param(case, id=f"{case['options']}-{case['answer']!r}") for case in UNIT["cases"]]
OPTIONS = {"A": "a red car", "B": "a blue car", "C": "a dog", "D": "a cat", "E": "a very long option indeed"}


@pytest.mark.parametrize("case", CASES)
def test_xtuner_reads_what_xtuner_read(case: dict[str, str]) -> None:
    assert xtuner_letter(case["answer"]) == case["xtuner"]


@pytest.mark.parametrize("case", CASES)
def test_vlmevalkit_reads_what_vlmevalkit_read(case: dict[str, str]) -> None:
    options = UNIT["options"][case["options"]]
    assert vlmevalkit_letter(case["answer"], options) == case["vlmevalkit"]
    assert vlmevalkit_option_letter(case["answer"], options) == case["vlmevalkit_option_only"]


# Seen by running VLMEvalKit e8e78f05 on these answers.
@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("The ANSWER  IS\tb", "B"),
        ("answer is **d", "D"),
        ("The answer is E because nothing else fits in it", None),  # the phrase is read for A to D only
        ("E it is, for all that we can see here", None),  # first seen before the last four tokens
        ("It is E, for all know", "E"),
        ("Z C", "C"),
        ("Z, or so I believe", "Z"),
        ("A\u00a0B", None),
        ("It is A DOG of the usual kind", "C"),
        ("I'm sorry, but without the image provided I say B", "Z"),
        ("Failed to obtain answer via API, a dog", "C"),
        ("", None),
        ("\u0130" * 60 + " a dog", None),  # lower-casing makes it two characters each, and too long
    ],
)
def test_vlmevalkit_reads_odd_answers(answer: str, letter: str | None) -> None:
    assert vlmevalkit_letter(answer, OPTIONS) == letter


def test_equal_option_texts_decide_nothing() -> None:
    assert vlmevalkit_letter("blue", {"A": "blue", "B": "Blue"}) is None


@pytest.mark.parametrize(("answer", "letters"), [("Dog", "D"), ("AB", "AB"), ("E", ""), ("b", ""), ("xCAy D", "CA")])
def test_xtuner_takes_the_first_run_of_letters(answer: str, letters: str) -> None:
    assert xtuner_letter(answer) == letters
