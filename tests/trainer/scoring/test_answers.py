"""Answers are read from three kinds of file, and each fault is named by entry and index."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from openpyxl import Workbook

from llava_trainer.errors import BadData, MissingInput
from llava_trainer.scoring.answers import Answer, read_answers
from llava_trainer.scoring.benchmark import Benchmark, read_benchmark
from support.benchmarks import row, write_tsv
from support.golden import golden

WANT = (Answer(7, "A"), Answer(3, "一只狗\nB"))


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    return read_benchmark(write_tsv(tmp_path / "b.tsv", row(7), row(3)))


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def write_xlsx(path: Path, *rows: tuple[object, ...]) -> Path:
    book = Workbook()
    for cells in rows:
        book.active.append(cells)
    book.save(path)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", ["A", "一只狗\nB"]),
        ("a.json", [{"index": 3, "prediction": "一只狗\nB"}, {"index": 7, "prediction": "A", "seconds": 1}]),
        ("a.jsonl", '{"index": "3", "prediction": "一只狗\\nB"}\n\n{"index": 7, "prediction": "A"}\n'),
        ("a.JSONL", '\ufeff{"index": 7, "prediction": "A"}\r\n{"index": 3, "prediction": "一只狗\\nB"}'),
    ],
)
def test_answers_come_back_in_the_order_of_the_benchmark(tmp_path, benchmark, name, content) -> None:
    assert read_answers(write(tmp_path / name, content), benchmark) == WANT


def test_a_spreadsheet_gives_the_answers_as_xtuner_decoded_them() -> None:
    benchmark = read_benchmark(golden("mmbench/dev.tsv"))
    raw = read_answers(golden("mmbench/dev_answers.json"), benchmark)
    decoded = tuple(Answer(a.index, a.prediction.replace("<|im_end|>", "").strip()) for a in raw)
    assert read_answers(golden("mmbench/xtuner_dev/mmbench_result.xlsx"), benchmark) == decoded


def test_spreadsheet_cells_are_read_as_text(tmp_path, benchmark) -> None:
    path = write_xlsx(tmp_path / "a.xlsx", ("prediction", "index"), (3, 3), (None, 7.0), (None, None))
    assert read_answers(path, benchmark) == (Answer(7, ""), Answer(3, "3"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (["A"], r"a\.json: 1 answers, but .*b\.tsv has 2 rows"),
        ([{"index": 7, "prediction": "A"}], r"no answer for index 3 \(.*b\.tsv line 3\)"),
        ([], r"no answer for index 7 \(.*b\.tsv line 2\) and 1 more"),
        ([{"index": 7, "prediction": "A"}] * 2, "entry 2: index 7 was answered in entry 1 already"),
        ([{"index": 8, "prediction": "A"}], "entry 1: .* has no index 8"),
        ([{"index": 7}], 'entry 1: must be an object with "index" and "prediction"'),
        ([7, 8], "entry 1: must be an object"),
        ([{"index": 7, "prediction": "A"}, "B"], "entry 2: index is None"),
        ([{"index": None, "prediction": "A"}], "entry 1: index is null"),
        ([{"index": True, "prediction": "A"}], "entry 1: index is True"),
        ([{"index": 7.5, "prediction": "A"}], "entry 1: index is 7.5"),
        ([{"index": 7, "prediction": None}], "entry 1: prediction is None"),
        ({"7": "A"}, "holds no list"),
        ("[1,\n2,,]", "line 2: not JSON"),
        ("[" * 100_000, "nested too deeply|not JSON"),
    ],
)
def test_a_fault_is_named_by_entry(tmp_path, benchmark, content, problem) -> None:
    with pytest.raises(BadData, match=problem):
        read_answers(write(tmp_path / "a.json", content), benchmark)


def test_a_fault_in_jsonl_is_named_by_line(tmp_path, benchmark) -> None:
    with pytest.raises(BadData, match=r"a\.jsonl line 3: not JSON"):
        read_answers(write(tmp_path / "a.jsonl", '{"index": 7, "prediction": "A"}\n\n{"index": 3'), benchmark)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([("index", "answer"), (7, "A")], "row 1: column prediction is missing"),
        ([("index", "prediction"), (7, "A"), (7, "B")], "row 3: index 7 was answered in row 2 already"),
        ([("index", "prediction"), (None, "A")], "row 2: index is ''"),
    ],
)
def test_a_fault_in_a_spreadsheet_is_named_by_row(tmp_path, benchmark, rows, problem) -> None:
    with pytest.raises(BadData, match=problem):
        read_answers(write_xlsx(tmp_path / "a.xlsx", *rows), benchmark)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.xlsx", b"no zip", "not a spreadsheet"),
        ("a.csv", b"", r"read from \.json, \.jsonl, \.xlsx"),
        ("a.json", b"\xff", "not UTF-8"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, benchmark, name, content, problem) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadData, match=problem):
        read_answers(tmp_path / name, benchmark)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.xlsx"])
def test_absent_answers_are_missing_input(tmp_path, benchmark, name) -> None:
    with pytest.raises(MissingInput, match="does not exist"):
        read_answers(tmp_path / name, benchmark)
