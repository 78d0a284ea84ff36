"""What works on the light install: every command that asks for no GPU, where torch cannot even be imported."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from llava_cli.main import COMMANDS, main
from support.published import write_tree
from support.tree import ROOT

TOKENIZER = ROOT / "examples/tiny/towers/llama"
HEAVY = ("torch", "transformers", "numpy", "pandas", "pyarrow", "obstore", "deepspeed", "peft")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    talk = [{"from": "human", "value": "What colour is the sky?"}, {"from": "gpt", "value": "blue"}]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"id": "good", "conversations": talk}, {"id": "bad", "conversations": "none"}]))
    return path


@pytest.mark.parametrize("name", HEAVY)
def test_this_environment_is_light(name: str) -> None:
    assert importlib.util.find_spec(name) is None, f"{name} is installed: run this lane with `make test-base`"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    told = capsys.readouterr().out
    assert [command.name for command in COMMANDS if f"\n    {command.name} " not in told] == []


def test_an_unknown_command_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as left:
        main(["trian"])
    assert left.value.code == 2


def test_validate_accepts_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(ROOT / "examples/tiny/llava-finetune.yaml")]) == 0
    assert "valid" in capsys.readouterr().out


def test_validate_names_the_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "examples/tiny/llava-finetune.yaml").read_text()
    (tmp_path / "job.yaml").write_text(text.replace("learningRate", "learningrate"))
    assert main(["validate", str(tmp_path / "job.yaml")]) == 10
    assert "learningRate" in capsys.readouterr().out


def test_recipe_show_prints_a_spec(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", "internlm2-7b-qlora"]) == 0
    assert "internlm/internlm2-chat-7b" in capsys.readouterr().out


def test_audit_counts_and_exits_with_its_code(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--annotations", str(rows), "--json"]) == 12
    assert [bad["row"] for bad in json.loads(capsys.readouterr().out)["bad"]] == [1]


def test_audit_finds_a_published_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tree(tmp_path)
    assert main(["audit", "--layout", "llava-v1.5", "--root", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 7


@pytest.mark.parametrize(
    "words", [[], ["--layout", "sharegpt4v"], ["--root", "."], ["--annotations", "a.json", "--root", "."]]
)
def test_audit_wants_files_or_a_tree(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(["audit", *words]) == 10
    assert "name rows by --annotations" in capsys.readouterr().err


def test_preview_shows_what_is_learnt(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["preview", "--annotations", str(rows), "--tokenizer", str(TOKENIZER), "--template", "vicuna", "--json"]
    assert main(words) == 0
    good, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert any(label != -100 for label in good["labels"])
    assert bad["dropped"]


def test_preview_refuses_a_template_that_does_not_fit(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["preview", "--annotations", str(rows), "--tokenizer", str(TOKENIZER), "--template", "llama3_chat"]
    assert main(words) == 11
    assert len(capsys.readouterr().err.splitlines()) == 1


WRONG_PREVIEWS = [("--html", "{tmp}/absent/page.html", 15), ("-n", "-3", 2), ("--max-length", "many", 2)]


@pytest.mark.parametrize(("flag", "value", "code"), WRONG_PREVIEWS)
def test_preview_refuses_what_it_cannot_do(
    rows: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str, code: int
) -> None:
    words = ["preview", "--annotations", str(rows), "--tokenizer", str(TOKENIZER), "--template", "vicuna"]
    try:
        got: object = main([*words, flag, value.format(tmp=rows.parent)])
    except SystemExit as left:
        got = left.code
    assert got == code
    assert value.format(tmp=rows.parent) in capsys.readouterr().err


@pytest.mark.parametrize("size", ["0", "-1", "some"])
def test_evaluate_wants_a_batch_of_at_least_one(capsys: pytest.CaptureFixture[str], size: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(["evaluate", "model", "--benchmark", "a.tsv", "--out", "out", f"--batch-size={size}"])
    assert left.value.code == 2
    assert f"{size} is not a whole number" in capsys.readouterr().err


def test_score_prints_both_rules(capsys: pytest.CaptureFixture[str]) -> None:
    mmbench = ROOT / "tests/data/mmbench"
    assert main(["score", str(mmbench / "dev.tsv"), str(mmbench / "dev_answers.json"), "--json", "--parity-na"]) == 0
    rules = json.loads(capsys.readouterr().out)["rules"]
    assert {name: round(rule["circular"], 3) for name, rule in rules.items()} == {"xtuner": 0.783, "vlmevalkit": 0.65}


def test_crd_prints_both_definitions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crd"]) == 0
    assert capsys.readouterr().out.count("kind: CustomResourceDefinition") == 2
