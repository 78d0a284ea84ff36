"""The files that an evaluation leaves behind: those that XTuner writes, and ours with both rules side by side."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from llava_trainer.errors import NoSpace, StorageUnwritable
from llava_trainer.scoring.answers import Answer, match_answers
from llava_trainer.scoring.benchmark import Benchmark
from llava_trainer.scoring.rules import XTUNER
from llava_trainer.scoring.scorereport import fractions, score_answers

__all__ = ["RunArguments", "write_results"]

_NOT_IN_XLSX = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Control characters that no xlsx can hold; models do write them."""


@dataclass(frozen=True)
class RunArguments:
    """How the answers were made; the fields of args.json, in its order."""

    model_name_or_path: str
    data_path: str
    work_dir: str
    llava: str | None = None
    visual_encoder: str | None = None
    visual_select_layer: int = -2
    prompt_template: str | None = None
    stop_words: tuple[str, ...] = ()
    torch_dtype: str = "bf16"
    bits: int | None = None
    bot_name: str = "BOT"
    offload_folder: str | None = None
    max_new_tokens: int = 100
    seed: int = 0
    launcher: str = "none"


def write_results(
    work_dir: Path, benchmark: Benchmark, *, answers: Sequence[Answer], arguments: RunArguments, now: datetime
) -> Path:
    """Write an evaluation's files into <work_dir>/<YYYYmmdd_HHMMSS>/ and return that folder.

    Always args.json, answers.jsonl and mmbench_result.xlsx (for the official server); where the benchmark has answers
    also mmbench_result.json (XTuner's rule) and, last, scores.json (both rules). All of them see an answer as XTuner
    decodes it: without white space around it and without the stop word that ended it.
    Raises BadData for an answer that is missing, NoSpace and StorageUnwritable.
    """
    spoken = [Answer(answer.index, _spoken(answer.prediction, arguments.stop_words)) for answer in answers]
    ordered = match_answers(benchmark, spoken, source="the evaluation")
    folder = work_dir / now.strftime("%Y%m%d_%H%M%S")
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(folder / "args.json", asdict(arguments))
        lines = (json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in ordered)
        (folder / "answers.jsonl").write_text("".join(lines), encoding="utf-8")
        _write_xlsx(folder / "mmbench_result.xlsx", benchmark, ordered)
        if benchmark.has_answers:
            report = score_answers(benchmark, ordered)
            xtuner = next(scores for scores in report.scores if scores.rule is XTUNER)
            _write_json(folder / "mmbench_result.json", fractions([xtuner.circular, *xtuner.abilities]))
            (folder / "scores.json").write_text(report.to_json(), encoding="utf-8")
    return folder


def _spoken(text: str, stop_words: Sequence[str]) -> str:
    """Cut what ended an answer off it."""
    text = text.strip()
    for word in stop_words:
        text = text.removesuffix(word).rstrip()
    return text


def _records(benchmark: Benchmark, answers: Sequence[Answer]) -> Iterator[dict[str, str | int | None]]:
    """Yield rows of the spreadsheet; `split` stays empty, as XTuner leaves it, whatever the benchmark says."""
    for question, answer in zip(benchmark.questions, answers, strict=True):
        abilities = {"l2-category": question.l2_category} if benchmark.has_l2_categories else {}
        yield {
            "question": question.question,
            **question.options,
            "prediction": answer.prediction,
            "category": question.category,
            **abilities,
            "index": question.index,
            "split": None,
            "answer": question.answer,
        }


def _write_xlsx(path: Path, benchmark: Benchmark, answers: Sequence[Answer]) -> None:
    """Write sheet Sheet1; columns stand in the order in which rows first need them."""
    from openpyxl import Workbook  # noqa: PLC0415 - a third of a second that reading scores never needs

    records = list(_records(benchmark, answers))
    columns = list(dict.fromkeys(name for record in records for name in record))
    book = Workbook()
    sheet = book.active
    sheet.title = "Sheet1"
    sheet.append(columns)
    for number, record in enumerate(records, start=2):
        for column, name in enumerate(columns, start=1):
            value = record.get(name)
            if isinstance(value, str):
                cell = sheet.cell(number, column, _NOT_IN_XLSX.sub("", value))
                cell.data_type = "s"  # text that starts with = is no formula
            elif value is not None:
                sheet.cell(number, column, value)
    book.save(path)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Name the folder in whatever the file system says against writing there."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(f"{folder}: no space left; free some or choose another work directory") from error
        reason = error.strerror or str(error)
        raise StorageUnwritable(f"{folder} cannot be written ({reason}); choose another work directory") from error
