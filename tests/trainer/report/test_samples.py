"""A handful of answers for people to look at: from every category, in an order that no run changes."""

from pathlib import Path

import pytest

from llava_trainer.report.samples import SampleAnswer, choose_samples, read_samples, write_samples
from llava_trainer.scoring.answers import Answer
from llava_trainer.scoring.benchmark import read_benchmark
from llava_trainer.scoring.rules import RULES, grade
from llava_trainer.storage import open_storage
from support.benchmarks import row, write_tsv


def chosen(folder: Path, categories: dict[int, str]) -> list[SampleAnswer]:
    rows = [row(index, category=category) for index, category in categories.items()]
    benchmark = read_benchmark(write_tsv(folder / "b.tsv", *rows))
    return choose_samples(benchmark, [Answer(question.index, "A") for question in benchmark.questions])


@pytest.mark.parametrize(
    ("categories", "indices"),
    [
        pytest.param({3: "ocr", 1: "ocr", 2: "ocr", 4: "count", 5: "shape"}, [3, 4, 5, 1, 2], id="take-turns"),
        pytest.param({1: "ocr", 1_000_001: "ocr", 2: "ocr"}, [1, 2], id="unrotated-only"),
        pytest.param(dict.fromkeys(range(1, 40), "ocr"), list(range(1, 13)), id="twelve-at-most"),
        pytest.param(
            {n: "abcde"[n // 20] for n in range(100)}, [0, 20, 40, 60, 80, 1, 21, 41, 61, 81, 2, 22], id="evenly"
        ),
    ],
)
def test_categories_take_turns(categories: dict[int, str], indices: list[int], tmp_path: Path) -> None:
    assert [sample.index for sample in chosen(tmp_path, categories)] == indices


def test_samples_come_back_as_they_were_written(tmp_path: Path) -> None:
    storage, samples = open_storage(str(tmp_path / "job")), chosen(tmp_path, {1: "ocr", 2: "count"})
    write_samples(storage, samples)
    assert read_samples(storage) == tuple(samples)


def test_without_an_evaluation_there_are_no_samples(tmp_path: Path) -> None:
    assert read_samples(open_storage(str(tmp_path))) == ()


@pytest.mark.parametrize(
    ("prediction", "answer", "badges"),
    [
        ("B", "B", ["right"]),
        ("A", "B", ["wrong"]),
        ("", "B", ["wrong"]),
        ("the answer is B", "B", ["right"]),
        ("circle", "B", ["xtuner: wrong", "vlmevalkit: right"]),
        ("b.", "B", ["wrong"]),
        ("B or A", "B", ["xtuner: right", "vlmevalkit: wrong"]),
        ("B", None, []),
    ],
)
def test_a_sample_is_judged_by_the_rules_of_the_table(prediction: str, answer: str | None, badges: list[str]) -> None:
    sample = SampleAnswer("x", 1, "?", {"A": "square", "B": "circle"}, answer, prediction, "")
    assert [badge for badge, _ in sample.verdicts] == badges


@pytest.mark.parametrize("prediction", ["A", "B", "AB", "Dog", "Circle.", "square", "answer is B", "none of them", ""])
def test_badges_are_what_the_score_table_counts(prediction: str, tmp_path: Path) -> None:
    benchmark = read_benchmark(write_tsv(tmp_path / "b.tsv", row(1)))
    answers = [Answer(1, prediction)]
    (sample,) = choose_samples(benchmark, answers)
    counted = [grade(rule, benchmark, answers)[0].is_hit for rule in RULES]
    told = [is_right for _, is_right in sample.verdicts]
    assert told == (counted if len(set(counted)) > 1 else counted[:1])
