"""A whole job whose storage and inputs lie on a real S3 server, with a rank killed on the way."""

from __future__ import annotations

import base64
import os
import re
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llava_trainer.checkpoint.restore import read_weights
from llava_trainer.storage import Storage, materialise, open_storage
from llava_trainer.tracking.history import History
from support.benchmarks import row, write_tsv
from support.s3_server import S3Server
from support.whole_job import COLOURS, TOWERS, running, stage, write_job, write_rows

NUM_STEPS = 36


@dataclass(frozen=True)
class Done:
    """A job that ended: its storage, its status, what its finetune attempts said."""

    storage: Storage
    status: dict[str, Any]
    logs: list[str]


@pytest.fixture(scope="module")
def server(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAVA_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        for name, value in s3.environment().items():
            patch.setenv(name, value)
        yield s3


def upload_inputs(server: S3Server, home: Path, bucket: str) -> dict[str, Any]:
    """Put towers, rows and a benchmark where a job can name them by s3://; give the parts of a spec."""
    write_rows(home / "data")
    picture = base64.b64encode((home / "data/0.png").read_bytes()).decode()
    options = dict(zip("ABCD", COLOURS, strict=True))
    write_tsv(home / "data/asked.tsv", row(1, image=picture, question="What colour?", **options, answer="A"))
    for name, folder in {"data": home / "data", "llama": TOWERS / "llama", "clip": TOWERS / "clip"}.items():
        server.put_folder(f"{bucket}/{name}", folder)
    data = {"annotations": f"{bucket}/data/rows.json", "images": f"{bucket}/data"}
    return {
        "model": {
            "llm": {"uri": f"{bucket}/llama"}, "visionTower": {"uri": f"{bucket}/clip"}, "promptTemplate": "vicuna",
        },
        "workers": {"gpusPerWorker": 0, "ranksPerWorker": 1},
        "checkpoint": {"everySteps": 6},
        "pretrain": stage(data, maxSteps=2),
        "finetune": stage(data, maxSteps=NUM_STEPS, llm={"mode": "full"}),
        "convert": {"formats": ["huggingface"]},
        "evaluate": {"benchmarks": [{"name": "asked", "uri": f"{bucket}/data/asked.tsv"}]},
    }  # fmt: skip


@pytest.fixture(scope="module")
def done(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Every stage once, but for the finetune, which loses a rank after its second checkpoint."""
    home, bucket = tmp_path_factory.mktemp("whole"), server.new_bucket(f"bucket-{secrets.token_hex(4)}")
    target = server.target(f"{bucket}/jobs/one")
    storage = target.model_dump(by_alias=True)
    job = write_job(home / "job.yaml", storage=storage, **upload_inputs(server, home, bucket))
    with running(job, home / "run", in_folder=False) as run:
        run.until_step("finetune", 7)
        os.kill(run.rank_pids()[-1], signal.SIGKILL)
        status = run.end()
    logs = [log.read_text() for log in sorted(run.home.glob("attempts/*finetune*/log"))]
    return Done(open_storage(target), status, logs)


def test_the_job_succeeds_with_one_restart(done: Done) -> None:
    assert (done.status["phase"], done.status["restarts"]) == ("Succeeded", 1)


def test_the_second_attempt_resumes_from_s3(done: Done) -> None:
    assert len(done.logs) == 2
    assert re.search(r"going on from step \d+ \(s3://", done.logs[1])


def test_no_step_is_told_twice(done: Done) -> None:
    assert [line.step for line in History.read(done.storage, "finetune")] == list(range(1, NUM_STEPS + 1))


def test_every_artifact_is_in_the_bucket(done: Done) -> None:
    stored = [done.storage.uri_of(item.path) for item in done.storage.list()]
    artifacts = done.status["artifacts"]
    assert {name for name, uri in artifacts.items() if not any(each.startswith(uri) for each in stored)} == set()
    assert set(artifacts) == {
        "pretrainData", "finetuneData", "audit", "pretrainWeights", "finetuneWeights", "huggingface", "scores",
        "report",
    }  # fmt: skip


def test_weights_verify(done: Done) -> None:
    assert read_weights(done.storage, done.status["artifacts"]["finetuneWeights"])


def test_the_export_is_whole_on_another_machine(done: Done, server: S3Server) -> None:
    folder = materialise(done.status["artifacts"]["huggingface"], server.target(done.storage.uri))
    assert {"config.json", "llava.json"} <= {file.name for file in folder.iterdir()}


def test_the_page_knows_of_the_job(done: Done) -> None:
    assert b"Succeeded" in done.storage.read("reports/report.html")


def test_no_marker_and_no_draft_is_left(done: Done) -> None:
    assert [item.path for item in done.storage.list() if item.path.endswith((".incomplete", ".tmp"))] == []
