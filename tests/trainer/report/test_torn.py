"""Whatever a file in the storage holds, there is a page, and it names what is not on it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llava_trainer.report.collect import collect
from llava_trainer.report.page import render, write_report
from support import reports

SOURCES = [
    "job.json",
    "reports/audit.json",
    "evaluations/scores.json",
    "evaluations/samples.json",
    "logs/pretrain-history.jsonl",
    "logs/finetune-history.jsonl",
]
TORN = [b"", b"{", b"\xff\xfe", b"[1]", b"7", b'{"pretrain": 3}', b'[{"rules": {}}]', b'{"name": "x", "spec": [1]}']


@pytest.mark.parametrize("content", TORN)
@pytest.mark.parametrize("path", SOURCES)
def test_a_torn_source_is_named_and_the_rest_is_on_the_page(tmp_path: Path, path: str, content: bytes) -> None:
    storage = reports.whole_run(tmp_path)
    whole = collect(storage)
    storage.write(path, content)
    torn = collect(storage)
    assert render(torn).startswith("<!doctype html>")
    if torn.unread:
        assert torn.unread[0].path.startswith(path)
    elif content:
        assert torn == whole
    untold = {"evaluations/scores.json": torn.samples, "evaluations/samples.json": torn.scores}
    assert untold.get(path, torn.audits or torn.curves)


@pytest.mark.parametrize("path", SOURCES)
def test_a_file_cut_short_is_named(tmp_path: Path, path: str) -> None:
    storage = reports.whole_run(tmp_path)
    storage.write(path, storage.read(path)[:-3])
    report = collect(storage)
    assert [source.path for source in report.unread] == [path]
    assert f"<code>{path}</code>" in render(report)


@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_a_torn_file_of_an_attempt_is_named(tmp_path: Path, name: str) -> None:
    storage = reports.whole_run(tmp_path)
    storage.delete("job.json")
    storage.write(f"attempts/a/{name}", b"{")
    assert [source.path for source in collect(storage).unread] == [f"attempts/a/{name}"]


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [("evaluations/samples.json", "image", None), ("evaluations/samples.json", "options", ["A"])],
)
def test_a_value_of_another_kind_is_named(tmp_path: Path, path: str, field: str, value: object) -> None:
    storage = reports.whole_run(tmp_path)
    storage.write(path, json.dumps([row | {field: value} for row in reports.samples()]).encode())
    assert [source.path for source in collect(storage).unread] == [path]


def test_a_loss_that_is_no_number_is_named(tmp_path: Path) -> None:
    storage = reports.whole_run(tmp_path)
    line = {"step": 1, "loss": "x", "lr": 0.1, "grad_norm": 1.0, "num_labels": 1, "seconds": 1.0}
    storage.write("logs/pretrain-history.jsonl", json.dumps(line).encode())
    assert [source.path for source in collect(storage).unread] == ["logs/pretrain-history.jsonl"]


def test_a_report_of_torn_files_is_written(tmp_path: Path) -> None:
    storage = reports.whole_run(tmp_path)
    for path in SOURCES:
        storage.write(path, b"{")
    assert write_report(storage, collect(storage)) == storage.uri_of("reports/report.html")


def test_the_command_shows_no_traceback(tmp_path: Path) -> None:
    storage = reports.whole_run(tmp_path)
    for path in SOURCES:
        storage.write(path, b"{")
    command = [sys.executable, "-m", "llava_trainer.report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
