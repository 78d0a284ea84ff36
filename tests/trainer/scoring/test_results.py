"""The files of an evaluation equal those that XTuner wrote, cell by cell."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from openpyxl import load_workbook

from llava_trainer.errors import BadData, NoSpace, StorageUnwritable
from llava_trainer.scoring import results
from llava_trainer.scoring.answers import Answer, read_answers
from llava_trainer.scoring.benchmark import read_benchmark
from llava_trainer.scoring.results import RunArguments, write_results
from support.benchmarks import row, write_tsv
from support.golden import golden

NOW = datetime(2026, 1, 2, 3, 4, 5)


def arguments(split: str = "dev") -> RunArguments:
    return RunArguments(
        model_name_or_path="fake/llm",
        data_path=f"mmbench/{split}.tsv",
        work_dir=f"{split}_internlm2_chat",
        llava="fake_llava",
        visual_encoder="fake/clip",
        prompt_template="internlm2_chat",
        stop_words=("<|im_end|>",),
        torch_dtype="fp16",
    )


def evaluate(folder: Path, split: str) -> Path:
    benchmark = read_benchmark(golden(f"mmbench/{split}.tsv"), parity_na=True)
    answers = read_answers(golden(f"mmbench/{split}_answers.json"), benchmark)
    return write_results(folder, benchmark, answers=answers, arguments=arguments(split), now=NOW)


def cells(path: Path) -> list[tuple[object, ...]]:
    book = load_workbook(path)
    assert book.sheetnames == ["Sheet1"]
    return list(book["Sheet1"].iter_rows(values_only=True))


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_spreadsheet_equals_the_golden_one(tmp_path: Path, split: str) -> None:
    made = evaluate(tmp_path, split) / "mmbench_result.xlsx"
    assert cells(made) == cells(golden(f"mmbench/xtuner_{split}/mmbench_result.xlsx"))


@pytest.mark.parametrize("name", ["xtuner_dev/args.json", "xtuner_dev/mmbench_result.json", "xtuner_test/args.json"])
def test_json_files_equal_the_golden_bytes(tmp_path: Path, name: str) -> None:
    made = evaluate(tmp_path, "dev" if "dev" in name else "test") / Path(name).name
    assert made.read_bytes() == golden(f"mmbench/{name}").read_bytes()


def test_the_folder_is_named_after_the_time(tmp_path: Path) -> None:
    assert evaluate(tmp_path / "new", "dev") == tmp_path / "new" / "20260102_030405"


def test_a_test_split_has_no_scores(tmp_path: Path) -> None:
    names = {path.name for path in evaluate(tmp_path, "test").iterdir()}
    assert names == {"args.json", "answers.jsonl", "mmbench_result.xlsx"}


def test_scores_hold_both_rules(tmp_path: Path) -> None:
    scores = json.loads((evaluate(tmp_path, "dev") / "scores.json").read_text(encoding="utf-8"))
    assert {name: rule["circular"] for name, rule in scores["rules"].items()} == {"xtuner": 47 / 60, "vlmevalkit": 0.65}


@pytest.mark.parametrize("name", ["answers.jsonl", "mmbench_result.xlsx"])
def test_written_answers_are_read_back(tmp_path: Path, name: str) -> None:
    benchmark = read_benchmark(golden("mmbench/dev.tsv"))
    xtuner = read_answers(golden("mmbench/xtuner_dev/mmbench_result.xlsx"), benchmark)
    assert read_answers(evaluate(tmp_path, "dev") / name, benchmark) == xtuner


@pytest.mark.parametrize(
    ("said", "kept"),
    [("=A1+1", "=A1+1"), ("#N/A", "#N/A"), ("A\x00\x1b[0m", "A[0m"), ("3", "3"), ("A\u2028b", "A\u2028b")],
)
def test_any_answer_fits_into_the_spreadsheet(tmp_path: Path, said: str, kept: str) -> None:
    benchmark = read_benchmark(write_tsv(tmp_path / "b.tsv", row(1)))
    folder = write_results(tmp_path, benchmark, answers=[Answer(1, said)], arguments=arguments(), now=NOW)
    assert read_answers(folder / "mmbench_result.xlsx", benchmark) == (Answer(1, kept),)
    assert read_answers(folder / "answers.jsonl", benchmark) == (Answer(1, said),)


def test_ccbench_has_no_column_for_abilities(tmp_path: Path) -> None:
    benchmark = read_benchmark(write_tsv(tmp_path / "b.tsv", row(1), without=("hint", "l2-category")))
    folder = write_results(tmp_path, benchmark, answers=[Answer(1, "A")], arguments=arguments(), now=NOW)
    header = cells(folder / "mmbench_result.xlsx")[0]
    assert header == ("question", "A", "B", "prediction", "category", "index", "split", "answer")


def test_a_missing_answer_writes_nothing(tmp_path: Path) -> None:
    benchmark = read_benchmark(write_tsv(tmp_path / "b.tsv", row(1)))
    with pytest.raises(BadData, match="no answer for index 1"):
        write_results(tmp_path / "out", benchmark, answers=[], arguments=arguments(), now=NOW)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnwritable, match="file/20260102_030405 cannot be written"):
        evaluate(tmp_path / "file", "dev")


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "_write_xlsx", full)
    with pytest.raises(NoSpace, match="no space left"):
        evaluate(tmp_path, "dev")
