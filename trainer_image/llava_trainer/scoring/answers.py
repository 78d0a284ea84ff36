"""The three files in which raw answers arrive (JSON, JSONL, xlsx) and how they are matched to a benchmark."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llava_trainer.errors import BadData, MissingInput
from llava_trainer.scoring.benchmark import Benchmark

__all__ = ["Answer", "match_answers", "read_answers"]


@dataclass(frozen=True)
class Answer:
    """What a model said to one row, word for word."""

    index: int
    prediction: str


@dataclass(frozen=True)
class _Entry:
    """An answer as a file holds it; a plain string in a JSON list has no index."""

    place: str
    """Where it stands: "entry 3", "line 3" or "row 3"."""
    index: object
    prediction: object


def read_answers(path: Path, benchmark: Benchmark) -> tuple[Answer, ...]:
    """Read answers from a .json, .jsonl or .xlsx file and return one per row of the benchmark, in its order.

    BadData names the entry or index of the first fault: not JSON, wrong count, unknown, repeated or missing index.
    """
    readers = {".json": _json_entries, ".jsonl": _jsonl_entries, ".xlsx": _xlsx_entries}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadData(f"{path}: answers are read from {', '.join(readers)}; rename or convert the file")
    try:
        entries = list(reader(path))
    except FileNotFoundError as error:
        raise MissingInput(f"{path} does not exist; give the path of the model's answers") from error
    except (IsADirectoryError, PermissionError) as error:
        raise MissingInput(f"{path} cannot be read ({error.strerror}); give the path of the model's answers") from error
    except UnicodeDecodeError as error:
        raise BadData(f"{path} byte {error.start}: not UTF-8; save the file as UTF-8") from error
    if entries and all(entry.index is None for entry in entries):
        return _by_position(path, entries, benchmark)
    return match_answers(benchmark, _by_index(path, entries, benchmark), source=str(path))


def match_answers(benchmark: Benchmark, answers: Sequence[Answer], *, source: str) -> tuple[Answer, ...]:
    """Put answers in the benchmark's order; BadData where one is missing. `source` says where they come from."""
    answer_of = {answer.index: answer for answer in answers}
    missing = [q for q in benchmark.questions if q.index not in answer_of]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        where = f"index {missing[0].index} ({benchmark.path} line {missing[0].line}){more}"
        raise BadData(f"{source}: no answer for {where}; every row of the benchmark needs one")
    return tuple(answer_of[q.index] for q in benchmark.questions)


def _by_position(path: Path, entries: list[_Entry], benchmark: Benchmark) -> tuple[Answer, ...]:
    """Match plain strings to rows one to one."""
    if len(entries) != len(benchmark.questions):
        count = f"{len(entries)} answers, but {benchmark.path} has {len(benchmark.questions)} rows"
        raise BadData(f"{path}: {count}; give one answer per row, in the order of the file")
    pairs = zip(entries, benchmark.questions, strict=True)
    return tuple(Answer(question.index, _text(path, entry)) for entry, question in pairs)


def _by_index(path: Path, entries: list[_Entry], benchmark: Benchmark) -> list[Answer]:
    """Check that every index is known and stands once."""
    known = {question.index for question in benchmark.questions}
    place_of: dict[int, str] = {}
    answers = []
    for entry in entries:
        index = _index(path, entry)
        if index not in known:
            raise BadData(f"{path} {entry.place}: {benchmark.path} has no index {index}; score it with its own file")
        if index in place_of:
            raise BadData(f"{path} {entry.place}: index {index} was answered in {place_of[index]} already; remove one")
        place_of[index] = entry.place
        answers.append(Answer(index, _text(path, entry)))
    return answers


def _index(path: Path, entry: _Entry) -> int:
    index = entry.index
    if isinstance(index, str) and index.isascii() and index.isdigit():
        return int(index)
    if isinstance(index, float) and index.is_integer():  # a spreadsheet's number
        return int(index)
    if isinstance(index, int) and not isinstance(index, bool):
        return index
    raise BadData(f"{path} {entry.place}: index is {index!r}; it must be the whole number of a row in the benchmark")


def _text(path: Path, entry: _Entry) -> str:
    if isinstance(entry.prediction, str):
        return entry.prediction
    raise BadData(f"{path} {entry.place}: prediction is {entry.prediction!r}; it must be the text that the model wrote")


def _json_entries(path: Path) -> Iterator[_Entry]:
    document = _parse(path, path.read_text(encoding="utf-8-sig"), "")
    if not isinstance(document, list):
        raise BadData(f"{path}: holds no list; give a JSON list of answers in the order of the benchmark")
    for number, item in enumerate(document, start=1):
        place = f"entry {number}"
        yield _Entry(place, None, item) if isinstance(item, str) else _entry(path, place, item)


def _jsonl_entries(path: Path) -> Iterator[_Entry]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if line.strip():
            yield _entry(path, f"line {number}", _parse(path, line, f" line {number}"))


def _entry(path: Path, place: str, item: object) -> _Entry:
    if not (isinstance(item, dict) and "index" in item and "prediction" in item):
        raise BadData(f'{path} {place}: must be an object with "index" and "prediction"')
    if item["index"] is None:
        raise BadData(f"{path} {place}: index is null; it must be the whole number of a row in the benchmark")
    return _Entry(place, item["index"], item["prediction"])


def _parse(path: Path, text: str, place: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = place or f" line {error.lineno}"
        raise BadData(f"{path}{where}: not JSON ({error.msg}, column {error.colno}); write the file again") from error
    except RecursionError as error:
        raise BadData(f"{path}{place}: nested too deeply; give a flat list of answers") from error


def _xlsx_entries(path: Path) -> Iterator[_Entry]:
    import zipfile  # noqa: PLC0415 - spreadsheets are the exception, and openpyxl takes a third of a second

    from openpyxl import load_workbook  # noqa: PLC0415
    from openpyxl.utils.exceptions import InvalidFileException  # noqa: PLC0415

    with path.open("rb") as file:
        try:
            rows = load_workbook(file, read_only=True, data_only=True).worksheets[0].iter_rows(values_only=True)
            names = list(next(rows, ()))
        except (InvalidFileException, zipfile.BadZipFile, KeyError, IndexError) as error:
            raise BadData(f"{path}: not a spreadsheet that can be read ({error}); save it as .xlsx again") from error
        for name in ("index", "prediction"):
            if name not in names:
                raise BadData(f"{path} row 1: column {name} is missing; give the file that the evaluation wrote")
        at_index, at_prediction = names.index("index"), names.index("prediction")
        for number, cells in enumerate(rows, start=2):
            if any(cell is not None for cell in cells):
                yield _Entry(f"row {number}", _cell(cells[at_index]), _cell(cells[at_prediction]))


def _cell(value: object) -> object:
    """Return a cell as the text that was written into it: an empty answer is an empty cell, "3" may have become 3."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value)
