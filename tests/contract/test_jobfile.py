"""Job files as text: YAML as kubectl reads it, and problems with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from llava_contract import causes
from llava_contract.jobfile import read_documents, spell
from llava_contract.problems import InvalidJob, MissingJobFile
from llava_contract.validate import load_job, validate_file
from support.specs import EVAL, PLAIN

SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\n"
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
GOOD = yaml.safe_dump(PLAIN)


def write(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("2E-5", 2e-5),
        ("1.5", 1.5),
        (".5", 0.5),
        ("16", 16),
        ("-2", -2),
        ("0x10", 16),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("1e", "1e"),
        ("v1.5", "v1.5"),
        ("'16'", "16"),
        ("yes", True),
    ],
)
def test_scalars_are_read_as_kubectl_reads_them(tmp_path: Path, text: str, value: object) -> None:
    assert read_documents(write(tmp_path, f"key: {text}\n"))[0].body == {"key": value}


def test_nulls_count_as_absent(tmp_path: Path) -> None:
    assert read_documents(write(tmp_path, "a: null\nb: {c:, d: 1}\n"))[0].body == {"b": {"d": 1}}


def test_a_key_written_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    problems = validate_file(write(tmp_path, GOOD + "kind: LlavaTrainJob\n"))
    assert [str(problem) for problem in problems] == ["line 37: kind: written twice, first on line 2"]


def test_a_problem_names_its_line(tmp_path: Path) -> None:
    text = GOOD.replace("batchSize: 4", "batchSize: 0", 1)
    line = text.splitlines().index("    batchSize: 0") + 1
    assert [problem.line for problem in validate_file(write(tmp_path, text))] == [line]


def test_a_missing_field_names_the_line_around_it(tmp_path: Path) -> None:
    text = GOOD.replace("promptTemplate: vicuna", "projectorDepth: 2")
    line = text.splitlines().index("  model:") + 1
    assert [problem.line for problem in validate_file(write(tmp_path, text))] == [line]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [1", "line 1: not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: b: c", "line 1: not YAML: mapping values are not allowed here"),
        ("\tkind: x", "line 1: not YAML: found character '\\t' that cannot start any token"),
        ("a: &a [*a]", "not YAML: nested deeper than 50 levels, or more than 100,000 fields"),
        (BOMB, "not YAML: nested deeper than 50 levels, or more than 100,000 fields"),
        ("", "holds no LlavaTrainJob or LlavaEvalJob of llava.dev/v1alpha1"),
        (SECRET, "holds no LlavaTrainJob or LlavaEvalJob of llava.dev/v1alpha1"),
        ("- 1\n", "not a Kubernetes object: write apiVersion, kind, metadata and spec"),
        ("kind: LlavaTrainJob\n", "apiVersion: Required value"),
        ("apiVersion: llava.dev/v1alpha1\n", "kind: Required value"),
        (
            "apiVersion: llava.dev/v1alpha1\nkind: LLaVATrainJob\n",
            'line 2: kind: no matches for kind "LLaVATrainJob" in version "llava.dev/v1alpha1"; '
            "write kind: LlavaTrainJob and apiVersion: llava.dev/v1alpha1",
        ),
        (
            "apiVersion: llava.dev/v1\nkind: LlavaEvalJob\n",
            'line 2: kind: no matches for kind "LlavaEvalJob" in version "llava.dev/v1"; '
            "write kind: LlavaEvalJob and apiVersion: llava.dev/v1alpha1",
        ),
    ],
)
def test_what_is_no_job_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    assert [str(problem) for problem in validate_file(write(tmp_path, text))] == [sentence]


def test_what_a_recipe_misses_has_a_line_too(tmp_path: Path) -> None:
    text = yaml.safe_dump({**PLAIN, "spec": {"storage": {"uri": "x"}, "recipe": "nobodys"}})
    line = text.splitlines().index("  recipe: nobodys") + 1
    assert [(problem.path, problem.line) for problem in validate_file(write(tmp_path, text))] == [("spec.recipe", line)]


def test_each_document_of_a_file_is_looked_at(tmp_path: Path) -> None:
    bad = yaml.safe_dump({**EVAL, "spec": {**EVAL["spec"], "model": {}}})
    problems = validate_file(write(tmp_path, "---\n".join((SECRET, GOOD, bad))))
    assert [problem.path for problem in problems] == ["spec.model"]


def test_a_good_file_is_loaded(tmp_path: Path) -> None:
    assert load_job(write(tmp_path, SECRET + "---\n" + GOOD)).name == "demo"


def test_two_jobs_in_a_file_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match="holds 2 jobs; write exactly one"):
        load_job(write(tmp_path, f"{GOOD}---\n{GOOD}"))


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("batchSize: 4", "batchSize: 0")
    with pytest.raises(InvalidJob) as caught:
        load_job(write(tmp_path, text))
    assert len(caught.value.problems) == 2
    assert caught.value.cause is causes.INVALID_SPEC


def test_a_file_that_is_not_there_is_a_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingJobFile, match=r"nothing\.yaml: cannot be read \(No such file or directory\)") as caught:
        load_job(tmp_path / "nothing.yaml")
    assert caught.value.cause is causes.MISSING_INPUT


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(b"kind: \xff")
    assert [problem.message for problem in validate_file(path)] == ["not UTF-8 text (byte 6)"]


def test_paths_are_spelled_as_the_api_server_spells_them() -> None:
    assert spell(("spec", "pretrain", "data", 0, "images")) == "spec.pretrain.data[0].images"
