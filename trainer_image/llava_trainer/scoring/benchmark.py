"""The TSV format of MMBench and CCBench: its columns, its rotations, and its images that refer to other rows."""

from __future__ import annotations

import base64
import binascii
import csv
import string
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from llava_trainer.errors import BadData, MissingInput

__all__ = ["Benchmark", "Question", "read_benchmark"]

ROTATION_STEP = 1_000_000
"""A question's rotations have indices index, index + 1e6, index + 2e6, ..."""

_REFERENCE_LENGTH = 16
"""An `image` shorter than this is no picture: it is the index of the row that holds one."""

_REQUIRED = ("index", "question", "image", "category")

# The texts that pandas.read_csv turns into a missing value (an empty field is missing for us too).
# fmt: off
_NA_TEXTS = frozenset({
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null",
})
# fmt: on
_END_OF_FILE = "\x00end of file"


@dataclass(frozen=True)
class Question:
    """One row of a benchmark."""

    index: int
    question: str
    hint: str | None
    options: Mapping[str, str]
    """Letter to text, in alphabetical order."""
    answer: str | None
    """The right option's letter; None in a test split."""
    category: str
    l2_category: str | None
    split: str
    source: str
    image_index: int
    """Index of the row that holds the picture, this row or another; equal for all rows that show the same."""
    line: int
    """Where the row starts in the file, 1-based."""

    @property
    def base_index(self) -> int:
        """Name of the question that this row is a rotation of."""
        return self.index % ROTATION_STEP


@dataclass(frozen=True)
class Benchmark:
    """A whole benchmark file."""

    name: str
    path: Path
    questions: tuple[Question, ...]
    """In the order of the file."""
    has_answers: bool
    has_l2_categories: bool
    num_na_options: int
    """Options that the file gives a text which pandas reads as missing ("None", "NA", ...)."""
    drops_na: bool
    """Whether such options and hints were dropped, as the peers do, or kept."""
    images: Mapping[int, str] = field(repr=False)
    """Row index to base64, only for rows that hold a picture."""

    def image_bytes(self, question: Question) -> bytes:
        """Decode a question's picture to the bytes of an image file; BadData where the base64 is broken."""
        encoded = "".join(self.images[question.image_index].split())
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            row = next(q for q in self.questions if q.index == question.image_index)
            problem = f"is broken base64 ({error}); download the file again"
            raise BadData(f"{self.path} line {row.line}: column image {problem}") from error

    def without_na(self) -> Benchmark:
        """Drop options and hints whose text pandas takes for missing: the benchmark as XTuner and VLMEvalKit see it."""
        return replace(self, drops_na=True, questions=tuple(map(_drop_na, self.questions)))

    def check_images(self) -> int:
        """Decode each distinct picture once, before a model is loaded; return how many there are."""
        shown = {q.image_index: q for q in self.questions}
        for question in shown.values():
            self.image_bytes(question)
        return len(shown)


@dataclass(frozen=True)
class _Row:
    """A line's cells by column; missing cells are empty."""

    path: Path
    line: int
    cells: Mapping[str, str]

    def get(self, column: str) -> str:
        return self.cells.get(column, "")

    def bad(self, column: str, problem: str) -> BadData:
        return BadData(f"{self.path} line {self.line}: column {column} {problem}")


def read_benchmark(path: Path, *, parity_na: bool = False) -> Benchmark:
    """Read a benchmark TSV; BadData names file, line and column of the first fault, MissingInput a missing file.

    `parity_na` reads it as the peers do: `Benchmark.without_na`.
    """
    columns, rows = _read_rows(path)
    options = [letter for letter in string.ascii_uppercase if letter in columns]
    has_answers = any(row.get("answer") for row in rows)
    by_index = _index_rows(rows)
    sources = _merge_equal_images(by_index, _resolve_images(by_index))
    benchmark = Benchmark(
        name=path.stem,
        path=path,
        questions=tuple(
            _question(row, index, options=options, image_index=sources[index])
            for index, row in by_index.items()
            if _check_answer(row, options, has_answers=has_answers)
        ),
        has_answers=has_answers,
        has_l2_categories="l2-category" in columns,
        num_na_options=sum(row.get(letter) in _NA_TEXTS for row in rows for letter in options),
        drops_na=False,
        images={index: by_index[index].get("image") for index in set(sources.values())},
    )
    return benchmark.without_na() if parity_na else benchmark


def _question(row: _Row, index: int, *, options: list[str], image_index: int) -> Question:
    """Turn a checked row into a question."""
    return Question(
        index=index,
        question=row.get("question"),
        hint=row.get("hint") or None,
        options={letter: row.get(letter) for letter in options if row.get(letter)},
        answer=row.get("answer") or None,
        category=row.get("category"),
        l2_category=row.get("l2-category") or None,
        split=row.get("split"),
        source=row.get("source"),
        image_index=image_index,
        line=row.line,
    )


def _drop_na(question: Question) -> Question:
    options = {letter: text for letter, text in question.options.items() if text not in _NA_TEXTS}
    return replace(question, options=options, hint=None if question.hint in _NA_TEXTS else question.hint)


def _check_answer(row: _Row, options: list[str], *, has_answers: bool) -> bool:
    """Refuse a row that nobody could answer rightly; always true, so that it can stand as a condition."""
    offered = [letter for letter in options if row.get(letter)]
    if not offered:
        raise row.bad(options[0], "and all other options are empty; give the row at least one option")
    answer = row.get("answer")
    if has_answers and answer not in offered:
        raise row.bad("answer", f"is {answer!r}, which is none of its options {', '.join(offered)}; correct the letter")
    return True


def _index_rows(rows: list[_Row]) -> dict[int, _Row]:
    """Key rows by index, in file order."""
    by_index: dict[int, _Row] = {}
    for row in rows:
        index = _whole_number(row, "index")
        if index in by_index:
            raise row.bad("index", f"repeats {index} of line {by_index[index].line}; give each row its own")
        by_index[index] = row
    return by_index


def _resolve_images(rows: Mapping[int, _Row]) -> dict[int, int]:
    """Follow each row's chain of references; return row index -> index of the row that holds the picture."""
    found: dict[int, int] = {}
    for start in rows:
        chain = [start]
        while chain[-1] not in found and (target := _reference(rows[chain[-1]])) is not None:
            if target not in rows:
                problem = f"refers to index {target}, which no row has; add that row or put the image here"
                raise rows[chain[-1]].bad("image", problem)
            if target in chain:
                loop = " -> ".join(str(i) for i in [*chain, target])
                raise rows[start].bad("image", f"goes in a circle ({loop}); put an image in one of these rows")
            chain.append(target)
        end = found.get(chain[-1], chain[-1])
        found.update(dict.fromkeys(chain, end))
    return found


def _merge_equal_images(rows: Mapping[int, _Row], sources: Mapping[int, int]) -> dict[int, int]:
    """Point rows that repeat a picture at its first holder: older releases repeat it in every rotation."""
    first_holder: dict[str, int] = {}
    return {index: first_holder.setdefault(rows[source].get("image"), source) for index, source in sources.items()}


def _reference(row: _Row) -> int | None:
    """Return the index that a row's image column refers to, or None where it holds a picture."""
    if len(row.get("image")) >= _REFERENCE_LENGTH:
        return None
    return _whole_number(row, "image")


def _whole_number(row: _Row, column: str) -> int:
    text = row.get(column).strip()
    if not (text.isascii() and text.isdigit()):
        want = (
            "an index (a whole number)" if column == "index" else "base64 of an image, or the index of a row with one"
        )
        raise row.bad(column, f"is {text!r}; it must be {want}")
    return int(text)


def _read_rows(path: Path) -> tuple[tuple[str, ...], list[_Row]]:
    """Return column names and rows; quoting as pandas reads it, blank lines skipped."""
    limit = csv.field_size_limit(sys.maxsize)  # images are fields of megabytes
    try:
        records = list(_records(path))
    except FileNotFoundError as error:
        raise MissingInput(f"{path} does not exist; give the path of a benchmark TSV") from error
    except (IsADirectoryError, PermissionError) as error:
        raise MissingInput(f"{path} cannot be read ({error.strerror}); give the path of a benchmark TSV") from error
    except UnicodeDecodeError as error:
        raise BadData(f"{path} byte {error.start}: not UTF-8; save the file as UTF-8") from error
    finally:
        csv.field_size_limit(limit)
    if len(records) < 2:
        raise BadData(f"{path} has no rows; give a TSV with a line of column names and a line per question")
    columns = _check_columns(path, records[0][1])
    return columns, [_row(path, columns, line=line, cells=cells) for line, cells in records[1:]]


def _row(path: Path, columns: tuple[str, ...], *, line: int, cells: list[str]) -> _Row:
    if len(cells) > len(columns):
        raise BadData(
            f"{path} line {line}: {len(cells)} columns, but the first line names {len(columns)}; check the tabs"
        )
    return _Row(path, line, dict(zip(columns, cells, strict=False)))


def _check_columns(path: Path, names: list[str]) -> tuple[str, ...]:
    """Refuse a first line without the columns that every benchmark has."""
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise BadData(f"{path} line 1: column {missing[0]} is missing; it has {', '.join(names)} (separated by tabs)")
    doubled = [name for name in names if name and names.count(name) > 1]
    if doubled:
        raise BadData(f"{path} line 1: column {doubled[0]} stands twice; rename one")
    if not any(name in names for name in string.ascii_uppercase):
        raise BadData(f"{path} line 1: column A is missing; options stand in columns A, B, C, ...")
    return tuple(names)


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, cells) of each record that is not blank."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(_lines_and_end(file), delimiter="\t")
        line = 1
        try:
            for cells in reader:
                if cells == [_END_OF_FILE]:
                    return
                if cells and cells[-1].endswith(_END_OF_FILE):
                    close = 'close it with ", and double the quotes inside it'
                    raise BadData(f"{path} line {line}: a quoted text never ends; {close}")
                if any(cells[1:]) or "".join(cells).strip():
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            raise BadData(f"{path} line {line}: {error}; check the quotes of this row") from error


def _lines_and_end(lines: Iterator[str]) -> Iterator[str]:
    """Pass lines on and mark the end, so that a quote left open is seen to swallow the mark."""
    yield from lines
    yield _END_OF_FILE
