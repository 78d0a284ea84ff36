"""What the two Dockerfiles promise. No image is built here: their own install steps are done in a folder instead."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.dockerfiles import Stage, is_sent, replay, stages_of
from support.tree import ROOT, tracked_files

IMAGES = {"operator": ROOT / "operator" / "Dockerfile", "trainer": ROOT / "trainer_image" / "Dockerfile"}
STAGES = {name: stages_of(path) for name, path in IMAGES.items()}
IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
each = pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES)


@each
def test_the_image_runs_as_nobody(stages: list[Stage]) -> None:
    assert stages[-1].rests("USER") == ["65532:65532"]


@each
def test_everything_that_is_copied_is_there_and_sent_to_the_builder(stages: list[Stage]) -> None:
    sources = [source for stage in stages for step in stage.steps for source in step.sources]
    files = {str(path.relative_to(ROOT)) for path in tracked_files()}
    for source in sources:
        wanted = [file for file in files if file == source or file.startswith(f"{source}/")]
        assert wanted, source
        assert [file for file in wanted if not is_sent(file, IGNORED)] == []


@pytest.mark.parametrize("path", ["uv.lock.bak", ".git/HEAD", "tests/x.py", "examples/tiny/data/a.json", "runs/tiny/a",
                                  "crds/llava_contract/__pycache__/run.pyc", "examples/s3/seaweedfs.yaml"])  # fmt: skip
def test_what_no_image_needs_is_not_sent(path: str) -> None:
    assert not is_sent(path, IGNORED)


@each
def test_what_is_copied_between_stages_comes_from_one_that_is_there(stages: list[Stage]) -> None:
    names = {stage.name for stage in stages}
    taken = [match for stage in stages for rest in stage.rests("COPY") for match in re.findall(r"--from=(\S+)", rest)]
    assert set(taken) <= names


@each
def test_packages_come_from_the_lock_by_the_uv_of_the_makefile(stages: list[Stage]) -> None:
    commands = [rest for stage in stages for rest in stage.rests("RUN")]
    version = re.search(r"^UV_VERSION := (\S+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert version
    assert re.findall(r"uv==(\S+)", " ".join(commands)) == [version[1]]
    assert all("--frozen" in command for command in commands if command.startswith("uv sync"))
    assert all("--no-deps" in command for command in commands if command.startswith("uv pip"))


def locked(*words: str) -> str:
    command = [
        str(ROOT / ".uv" / "bin" / "uv"),
        "export",
        "--frozen",
        "--no-default-groups",
        "--no-emit-project",
        *words,
    ]
    if not Path(command[0]).exists():
        pytest.skip("uv is not there: make init")
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def names(exported: str) -> set[str]:
    return set(re.findall(r"^([\w.-]+)==", exported, flags=re.MULTILINE))


def test_the_operators_image_holds_no_trainer_package() -> None:
    held = names(locked("--extra", "operator"))
    assert {"kopf", "kubernetes"} <= held
    assert not held & {"torch", "numpy", "transformers", "pyarrow", "obstore", "boto3"}


@pytest.mark.parametrize("extra", STAGES)
def test_every_locked_package_has_a_hash(extra: str) -> None:
    blocks = re.split(r"\n(?=\S)", locked("--extra", extra))
    assert [block for block in blocks if "==" in block.split("\n")[0] and "--hash=sha256:" not in block] == []


@pytest.mark.parametrize(("image", "want"), [
    ("operator", ["llava-operator"]), ("trainer", ["python", "-m", "llava_trainer.launch"]),
])  # fmt: skip
def test_the_entrypoint_is_what_a_pod_starts(image: str, want: list[str]) -> None:
    assert [json.loads(rest) for rest in STAGES[image][-1].rests("ENTRYPOINT")] == [want]


def test_a_spec_in_a_pod_starts_where_the_image_has_the_example() -> None:
    final = STAGES["trainer"][-1]
    assert final.rests("WORKDIR") == ["/workspace"]
    assert "--from=example /app/examples/tiny /workspace" in final.rests("COPY")


def test_the_trainers_entrypoint_can_be_imported() -> None:
    pytest.importorskip("torch")
    subprocess.run([sys.executable, "-c", "import llava_trainer.launch"], check=True)


def test_the_operators_steps_give_a_command_that_answers(tmp_path: Path) -> None:
    app = replay(STAGES["operator"], "ours", root=tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(app / "ours")}
    shown = run([str(app / "ours" / "bin" / "llava-operator"), "--help"], environment)
    assert "LlavaTrainJobs" in shown
    script = "import llava_operator, llava_operator.cluster_run; print(llava_operator.__file__)"
    assert str(app / "ours") in run([str(app / ".venv" / "bin" / "python"), "-c", script], environment)


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_trainers_steps_give_the_examples_data(tmp_path: Path) -> None:
    app = replay(STAGES["trainer"], "example", root=tmp_path)
    assert (app / "examples/tiny/data/LLaVA-Pretrain/blip_laion_cc_sbu_558k.json").exists()
    assert (app / "examples/tiny/towers/llama/model.safetensors").exists()
