"""The demo, run twice into two fresh folders: a good model, and the same one to the last bit."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.tree import ROOT

YAML = ROOT / "examples/tiny/llava-finetune.yaml"


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return run_demo(tmp_path_factory.mktemp("first")), run_demo(tmp_path_factory.mktemp("second"))


def run_demo(folder: Path) -> Path:
    command = [sys.executable, "-m", "llava_cli.main", "run", str(YAML), "--dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (folder / "output.jsonl").write_text(done.stdout)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def scores(folder: Path) -> dict[str, float]:
    return dict(json.loads((folder / "job.json").read_text())["status"]["results"])


@pytest.mark.parametrize("rule", ["xtuner", "vlmevalkit"])
def test_reaches_the_goal(two_runs: tuple[Path, Path], rule: str) -> None:
    circular = [value for name, value in scores(two_runs[0]).items() if name.endswith(f"/{rule}/circular")]
    assert circular
    assert min(circular) >= 0.85


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_loss_trace_is_equal_to_the_bit(two_runs: tuple[Path, Path], stage: str) -> None:
    first, second = (losses(folder / f"logs/{stage}-history.jsonl") for folder in two_runs)
    assert len(first) > 10
    assert first == second


def losses(history: Path) -> list[tuple[int, str]]:
    rows = [json.loads(line, parse_float=str) for line in history.read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows]


def test_answers_are_equal(two_runs: tuple[Path, Path]) -> None:
    first, second = (sorted(folder.glob("evaluations/*/**/answers.jsonl")) for folder in two_runs)
    assert first
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_weights_are_equal(two_runs: tuple[Path, Path]) -> None:
    first, second = (digests(folder / "models/huggingface") for folder in two_runs)
    assert first
    assert first == second


def digests(model: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(model.glob("*.safetensors"))}


def test_piped_output_is_json_lines(two_runs: tuple[Path, Path]) -> None:
    lines = (two_runs[0] / "output.jsonl").read_text().splitlines()
    assert lines
    assert all(isinstance(json.loads(line), dict) for line in lines)


def test_report_asks_nothing_of_the_network(two_runs: tuple[Path, Path]) -> None:
    page = (two_runs[0] / "reports/report.html").read_text()
    assert "data:image/" in page
    assert 'src="http' not in page
    assert 'href="http' not in page
