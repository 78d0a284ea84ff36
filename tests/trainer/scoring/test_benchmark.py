"""Benchmark files are read as pandas reads them, and each fault of a file is named by line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_trainer.errors import BadData, MissingInput
from llava_trainer.scoring.benchmark import read_benchmark
from support.benchmarks import PICTURE, row, write_tsv
from support.golden import golden


def test_questions_stand_in_file_order() -> None:
    benchmark = read_benchmark(golden("mmbench/dev.tsv"))
    assert (len(benchmark.questions), benchmark.has_answers) == (215, True)
    assert [q.index for q in benchmark.questions[:3]] == [1000485, 170, 3000268]
    assert benchmark.questions[0].base_index == 485


def test_a_split_without_answers_says_so() -> None:
    benchmark = read_benchmark(golden("mmbench/test.tsv"))
    assert not benchmark.has_answers
    assert {q.answer for q in benchmark.questions} == {None}


def test_an_empty_answer_column_is_a_test_split(tmp_path: Path) -> None:
    assert not read_benchmark(write_tsv(tmp_path / "b.tsv", row(answer=""))).has_answers


def test_every_rotation_shows_the_picture_of_its_base_row() -> None:
    benchmark = read_benchmark(golden("mmbench/dev.tsv"))
    assert all(q.image_index == q.base_index for q in benchmark.questions)
    assert {benchmark.image_bytes(q)[:4] for q in benchmark.questions} == {b"\x89PNG"}
    assert benchmark.check_images() == 60


def test_references_are_followed_through_chains(tmp_path: Path) -> None:
    rows = [row(3, image="2"), row(2, image="1"), row(1), row(4, image="3")]
    benchmark = read_benchmark(write_tsv(tmp_path / "b.tsv", *rows))
    assert [q.image_index for q in benchmark.questions] == [1, 1, 1, 1]
    assert benchmark.image_bytes(benchmark.questions[0]) == b"not really a PNG file"


def test_rows_that_repeat_a_picture_share_it(tmp_path: Path) -> None:
    benchmark = read_benchmark(write_tsv(tmp_path / "b.tsv", row(5), row(1000005), row(6, image="A" * 20)))
    assert [q.image_index for q in benchmark.questions] == [5, 5, 6]


def test_ccbench_has_neither_hints_nor_abilities(tmp_path: Path) -> None:
    benchmark = read_benchmark(write_tsv(tmp_path / "b.tsv", row(), without=("hint", "l2-category")))
    question = benchmark.questions[0]
    assert (question.hint, question.l2_category, benchmark.has_l2_categories) == (None, None, False)


@pytest.mark.parametrize("text", ["None", "NA", "null", "nan", "N/A", "<NA>"])
def test_option_texts_like_none_are_kept(tmp_path: Path, text: str) -> None:
    benchmark = read_benchmark(write_tsv(tmp_path / "b.tsv", row(B=text)))
    assert benchmark.questions[0].options == {"A": "a dog", "B": text}
    assert benchmark.num_na_options == 1


def test_parity_drops_option_texts_like_none(tmp_path: Path) -> None:
    benchmark = read_benchmark(write_tsv(tmp_path / "b.tsv", row(A="None", hint="NA", answer="A")), parity_na=True)
    question = benchmark.questions[0]
    assert (question.options, question.hint, question.answer) == ({"B": "a cat"}, None, "A")
    assert (benchmark.num_na_options, benchmark.drops_na) == (1, True)


def test_similar_texts_are_not_missing(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "b.tsv", row(A="none", B="NONE"))
    assert len(read_benchmark(path, parity_na=True).questions[0].options) == 2


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('"two\nlines"', "two\nlines"),
        ('"a ""word"""', 'a "word"'),
        ('5" long', '5" long'),
        ('"a" dog', "a dog"),
        (" spaced ", " spaced "),
        ('"a\ttab"', "a\ttab"),
        ("\u2028", "\u2028"),
    ],
)
def test_quotes_are_read_as_pandas_reads_them(tmp_path: Path, cell: str, text: str) -> None:
    assert read_benchmark(write_tsv(tmp_path / "b.tsv", row(question=cell))).questions[0].question == text


@pytest.mark.parametrize("ending", ["\r\n", "\n\n", "\n  \n"])
def test_line_endings_and_blank_lines_do_not_matter(tmp_path: Path, ending: str) -> None:
    text = write_tsv(tmp_path / "b.tsv", row(1), row(2)).read_text()
    (tmp_path / "b.tsv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", ending).rstrip().encode())
    assert [q.index for q in read_benchmark(tmp_path / "b.tsv").questions] == [1, 2]


def test_a_picture_of_megabytes_is_no_problem(tmp_path: Path) -> None:
    benchmark = read_benchmark(write_tsv(tmp_path / "b.tsv", row(image="A" * 4_000_000)))
    assert len(benchmark.image_bytes(benchmark.questions[0])) == 3_000_000


@pytest.mark.parametrize("column", ["index", "question", "image", "category"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    with pytest.raises(BadData, match=rf"b\.tsv line 1: column {column} is missing"):
        read_benchmark(write_tsv(tmp_path / "b.tsv", row(), without=(column,)))


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (row(1), "line 3: column index repeats 1 of line 2"),
        (row(index="x"), "line 3: column index is 'x'"),  # type: ignore[arg-type]
        (row(2, answer="C"), "line 3: column answer is 'C', which is none of its options A, B"),
        (row(2, answer="a"), "line 3: column answer is 'a'"),
        (row(2, answer=""), "line 3: column answer is ''"),
        (row(2, A="", B=""), "line 3: column A and all other options are empty"),
        (row(2, image="7"), "line 3: column image refers to index 7, which no row has"),
        (row(2, image="2"), r"line 3: column image goes in a circle \(2 -> 2\)"),
        (row(2, image=""), "line 3: column image is ''"),
        (row(2, image="cat.png"), "line 3: column image is 'cat.png'"),
        (row(2, question='"never closed'), "line 3: a quoted text never ends"),
        (row(2, category="a\tb\tc"), "line 3: 11 columns, but the first line names 9"),
    ],
)
def test_a_fault_is_named_by_line_and_column(tmp_path: Path, second: dict[str, str], problem: str) -> None:
    with pytest.raises(BadData, match=problem):
        read_benchmark(write_tsv(tmp_path / "b.tsv", row(1), second))


def test_a_longer_circle_is_named(tmp_path: Path) -> None:
    rows = [row(1), row(2, image="3"), row(3, image="2")]
    with pytest.raises(BadData, match="line 3: column image goes in a circle"):
        read_benchmark(write_tsv(tmp_path / "b.tsv", *rows))


def test_lines_are_counted_through_quoted_line_breaks(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="line 5: column answer"):
        read_benchmark(write_tsv(tmp_path / "b.tsv", row(1, question='"a\nb\nc"'), row(2, answer="Q")))


@pytest.mark.parametrize("broken", [PICTURE[:-1] + "!", PICTURE[:-1], "AAAA=AAAAAAAAAAAAAAA", "图" * 20])
def test_broken_base64_names_the_row_that_holds_it(tmp_path: Path, broken: str) -> None:
    benchmark = read_benchmark(write_tsv(tmp_path / "b.tsv", row(1), row(2, image=broken), row(3, image="2")))
    with pytest.raises(BadData, match="line 3: column image is broken base64"):
        benchmark.image_bytes(benchmark.questions[2])
    with pytest.raises(BadData, match="line 3"):
        benchmark.check_images()


@pytest.mark.parametrize(
    ("content", "problem"), [(b"", "no rows"), (b"index\n", "no rows"), (b"\xff\xfe", "not UTF-8")]
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "b.tsv").write_bytes(content)
    with pytest.raises(BadData, match=problem):
        read_benchmark(tmp_path / "b.tsv")


def test_a_doubled_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.tsv").write_text(f"index\tquestion\tA\tA\timage\tcategory\n1\tq\tx\ty\t{PICTURE}\tc\n")
    with pytest.raises(BadData, match="column A stands twice"):
        read_benchmark(tmp_path / "b.tsv")


@pytest.mark.parametrize("name", ["absent.tsv", "."])
def test_a_file_that_is_not_there_is_missing_input(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingInput, match="give the path"):
        read_benchmark(tmp_path / name)
