"""launch.py as a process: whatever ranks do, one exit code, one result."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from llava_trainer import launch as launcher
from llava_trainer.ranks import RankFolder
from support import scripted_rank
from support.launcher import run_config, start_script
from support.training_job import Ended, Running, wait_for

pytestmark = pytest.mark.timeout(300)


def begin(monkeypatch: pytest.MonkeyPatch, folder: Path, *script: str) -> Running:
    monkeypatch.setenv("RANK_SCRIPT", json.dumps(script))
    return start_script(scripted_rank, run_config(len(script)), folder)


def launch(monkeypatch: pytest.MonkeyPatch, folder: Path, *script: str) -> Ended:
    return begin(monkeypatch, folder, *script).wait()


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        (("succeed",), 0, "Succeeded"),
        (("word 12",), 12, "BadData"),
        (("kill",), 137, "Killed"),
        (("exit 74",), 74, "Hang"),
        (("exit 0",), 1, "UnexpectedError"),
        (("succeed", "succeed"), 0, "Succeeded"),
        (("wait", "word 77"), 77, "Diverged"),
        (("consequence 75", "kill"), 137, "Killed"),
    ],
    ids=str,
)
def test_exit_code_and_result_are_those_of_the_earliest_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: tuple[str, ...], code: int, reason: str
) -> None:
    ended = launch(monkeypatch, tmp_path, *script)
    assert (ended.code, ended.result.exit_code, ended.result.reason) == (code, code, reason)


def test_a_gang_that_never_meets_is_nobodys_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(launcher, "_RENDEZVOUS_TIMEOUT_S", 1)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        second = launcher.Gang(2, 1, 1, f"127.0.0.1:{nobody.getsockname()[1]}")
        failures = launcher._start_elastic(second, ["-c", "pass"], RankFolder(tmp_path))
    assert [(failure.rank, failure.code, failure.is_consequence) for failure in failures] == [(1, 75, True)]


@pytest.mark.parametrize(
    ("num_ranks", "number", "code"), [(2, signal.SIGTERM, 143), (1, signal.SIGINT, 130), (1, signal.SIGHUP, 143)]
)
def test_signals_reach_every_rank(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, num_ranks: int, number: signal.Signals, code: int
) -> None:
    with begin(monkeypatch, tmp_path, *["wait"] * num_ranks) as running:
        wait_for(lambda: running.log().count("waiting") == num_ranks)
        running.process.send_signal(number)
        ended = running.wait()
    assert (ended.code, ended.result.exit_code) == (code, code)


@pytest.mark.parametrize(("node", "is_served"), [("0", True), ("1", False)])
def test_the_first_node_alone_serves_progress(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, node: str, is_served: bool
) -> None:
    port = free_port()
    monkeypatch.setenv("LLAVA_PROGRESS_PORT", str(port))
    monkeypatch.setenv("PET_NODE_RANK", node)
    with begin(monkeypatch, tmp_path, "wait") as running:
        wait_for(lambda: "waiting" in running.log())
        with socket.socket() as client:
            assert (client.connect_ex(("127.0.0.1", port)) == 0) is is_served


def test_a_taken_port_costs_a_warning_and_no_attempt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        monkeypatch.setenv("LLAVA_PROGRESS_PORT", str(taken.getsockname()[1]))
        ended = launch(monkeypatch, tmp_path, "succeed")
    assert (ended.code, "progress cannot be served" in ended.log) == (0, True)


def free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])
