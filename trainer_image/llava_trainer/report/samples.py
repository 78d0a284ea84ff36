"""Which questions people get to see beside their pictures, and how those lie in a job's storage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice, zip_longest
from typing import Final

from pydantic import TypeAdapter

from llava_trainer.scoring.answers import Answer
from llava_trainer.scoring.benchmark import Benchmark, Question
from llava_trainer.scoring.rules import RULES
from llava_trainer.storage import Storage

__all__ = ["SampleAnswer", "choose_samples", "read_samples", "write_samples"]

_PATH: Final = "evaluations/samples.json"
_NUM_SAMPLES: Final = 12
"""Three rows of four pictures on a wide screen."""


@dataclass(frozen=True, slots=True)
class SampleAnswer:
    """A question, its picture (base64 of the file) and what the model said."""

    benchmark: str
    index: int
    question: str
    options: dict[str, str]
    answer: str | None
    prediction: str
    image: str

    @property
    def verdicts(self) -> tuple[tuple[str, bool], ...]:
        """(badge, whether it is right) by the rules of the score table: one a rule where they differ, else one.

        None at all where nobody knows the answer.
        """
        if self.answer is None:
            return ()
        right_by = {rule.name: rule.read(self.prediction, self.options) == self.answer for rule in RULES}
        if len(set(right_by.values())) == 1:
            return ((_word(right_by[RULES[0].name]), right_by[RULES[0].name]),)
        return tuple((f"{name}: {_word(is_right)}", is_right) for name, is_right in right_by.items())


def _word(is_right: bool) -> str:
    return "right" if is_right else "wrong"


def choose_samples(benchmark: Benchmark, answers: Sequence[Answer]) -> list[SampleAnswer]:
    """Take a few unrotated questions, as many of each category as of any other; `answers` cover each row once."""
    prediction_of = {answer.index: answer.prediction for answer in answers}
    return [
        SampleAnswer(
            benchmark=benchmark.name,
            index=question.index,
            question=question.question,
            options=dict(question.options),
            answer=question.answer,
            prediction=prediction_of[question.index],
            image="".join(benchmark.images[question.image_index].split()),
        )
        for question in islice(_by_turns(benchmark), _NUM_SAMPLES)
    ]


def _by_turns(benchmark: Benchmark) -> list[Question]:
    """Order the unrotated questions so that categories take turns, each in the order of the file."""
    categories: dict[str, list[Question]] = {}
    for question in benchmark.questions:
        if question.index == question.base_index:
            categories.setdefault(question.category, []).append(question)
    return [question for question in chain.from_iterable(zip_longest(*categories.values())) if question]


def write_samples(storage: Storage, samples: Sequence[SampleAnswer]) -> None:
    """Leave samples for the page; errors as Storage.write."""
    rows = [asdict(sample) for sample in samples]
    storage.write(_PATH, json.dumps(rows, ensure_ascii=False).encode())


def read_samples(storage: Storage) -> tuple[SampleAnswer, ...]:
    """Read what `write_samples` left, nothing where no evaluation ended; ValueError for another shape."""
    if not storage.exists(_PATH):
        return ()
    return TypeAdapter(tuple[SampleAnswer, ...]).validate_json(storage.read(_PATH))
