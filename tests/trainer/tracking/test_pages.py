"""What a pod serves about its progress, over real HTTP, and that serving never costs an attempt."""

from __future__ import annotations

import http.client
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from llava_contract.result import CheckpointRef, Progress
from llava_contract.run import JobKind, JobRef
from llava_trainer.tracking.pages import metrics_text, serve_progress, serve_where_asked

JOB = JobRef(kind=JobKind.TRAIN, namespace="team", name="tiny", uid="uid-1")
TIME = datetime(2026, 3, 1, 12, tzinfo=UTC)
COMMIT = CheckpointRef(uri="/made/step-20", step=20, manifest_sha256="0" * 64)


def progress(**changes: Any) -> Progress:
    known: dict[str, Any] = {"stage": "finetune", "attempt": 2, "step": 31, "total_steps": 90, "time": TIME}
    return Progress.model_validate(known | changes, by_name=True)


@contextmanager
def served(file: Path) -> Iterator[ThreadingHTTPServer]:
    server = serve_progress(0, file, job=JOB)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def get(server: ThreadingHTTPServer, path: str, *, host: str = "127.0.0.1") -> tuple[int, bytes, str | None]:
    connection = http.client.HTTPConnection(host, server.server_port, timeout=10)
    with closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheader("Llava-Job-Uid")


def samples(text: str) -> list[Sample]:
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def test_progress_is_the_file_as_it_is_and_says_whose(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_bytes(b'{"anything": 1}')
    with served(tmp_path / "p.json") as server:
        assert get(server, "/progress") == (200, b'{"anything": 1}', "uid-1")


def test_before_the_first_report_there_is_a_sentence_and_no_metric(tmp_path: Path) -> None:
    with served(tmp_path / "p.json") as server:
        code, told, _ = get(server, "/progress")
        assert (code, b"not reported yet" in told) == (404, True)
        assert get(server, "/metrics")[:2] == (200, b"")


def test_metrics_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(progress().model_dump_json())
    with served(tmp_path / "p.json") as server:
        assert get(server, "/metrics")[1].decode() == metrics_text(progress(), JOB)


@pytest.mark.parametrize("name", ["folder", "nonsense"])
def test_what_cannot_be_read_ends_one_answer_only(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "nonsense").write_text("{")
    with served(tmp_path / name) as server:
        assert [get(server, page)[0] for page in ("/metrics", "/metrics", "/other")] == [503, 503, 404]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_cluster_of_ipv6_addresses_is_served(tmp_path: Path) -> None:
    with served(tmp_path / "p.json") as server:
        assert get(server, "/progress", host="::1")[0] == 404


def test_a_client_that_says_nothing_holds_nobody_up(tmp_path: Path) -> None:
    with served(tmp_path / "p.json") as server, socket.create_connection(("127.0.0.1", server.server_port)):
        assert get(server, "/progress")[0] == 404


def test_every_number_has_its_metric() -> None:
    told = progress(
        loss=0.83, learning_rate=2e-4, grad_norm=1.5, samples_per_second=7.25, tokens_per_second=4500.5,
        memory_bytes=1 << 36, validation_loss=0.9, eta_seconds=7800.0, checkpoint=COMMIT,
    )  # fmt: skip
    assert {sample.name: sample.value for sample in samples(metrics_text(told, JOB))} == {
        "llava_step": 31, "llava_steps": 90, "llava_loss": 0.83, "llava_learning_rate": 2e-4, "llava_grad_norm": 1.5,
        "llava_samples_per_second": 7.25, "llava_tokens_per_second": 4500.5, "llava_memory_bytes": 1 << 36,
        "llava_validation_loss": 0.9, "llava_eta_seconds": 7800, "llava_checkpoint_step": 20,
        "llava_progress_timestamp_seconds": TIME.timestamp(),
    }  # fmt: skip


def test_every_source_has_its_loss() -> None:
    told = samples(metrics_text(progress(source_losses={"coco.json": 1.5, 'te"xt.json': 0.25}), JOB))
    found = {sample.labels["source"]: sample.value for sample in told if sample.name == "llava_source_loss"}
    assert found == {"coco.json": 1.5, 'te"xt.json': 0.25}


def test_what_is_not_known_is_no_zero() -> None:
    names = [sample.name for sample in samples(metrics_text(progress(), JOB))]
    assert names == ["llava_step", "llava_steps", "llava_progress_timestamp_seconds"]


@pytest.mark.parametrize("name", ["tiny", 'quo"te', "back\\slash", "two\nlines", "\\n", "straße"])
def test_labels_come_back_as_they_were(name: str) -> None:
    text = metrics_text(progress(stage=name), JOB.model_copy(update={"name": name}))
    want = {"job_namespace": "team", "job_name": name, "stage": name, "attempt": "2"}
    assert [sample.labels for sample in samples(text)] == [want] * 3


def test_every_family_is_a_gauge_with_a_help_text() -> None:
    families = list(text_string_to_metric_families(metrics_text(progress(loss=float("nan")), JOB)))
    assert {(family.type, bool(family.documentation)) for family in families} == {("gauge", True)}


@pytest.mark.parametrize("port", ["", "eighty", "-1", "70000", "taken"])
def test_a_port_that_cannot_be_served_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture, port: str) -> None:
    with served(tmp_path / "p.json") as other, caplog.at_level(logging.WARNING):
        asked = str(other.server_port) if port == "taken" else port
        serve_where_asked({"LLAVA_PROGRESS_PORT": asked}, tmp_path / "p.json", job=JOB)
    assert [record.levelname for record in caplog.records] == (["WARNING"] if port else [])


def test_torch_is_not_needed() -> None:
    code = "import sys, llava_trainer.tracking.pages; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
