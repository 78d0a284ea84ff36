"""What a watcher sees while a job runs."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from llava_cli.run_summary import RunSummary
from llava_cli.run_view import JsonView, TerminalView
from llava_contract.v1alpha1.status import JobStatus, ProgressStatus
from llava_operator.core.events import Event
from support.jobs import job

RUNNING = job().build().status
PROGRESS = ProgressStatus(summary="30/100", step=30, total_steps=100, loss=0.5, eta="2h10")
SUMMARY = RunSummary({}, scores=(), report=None, model=None, stages=(), restarts=0)


def status() -> JobStatus:
    return RUNNING.model_copy(update={"progress": PROGRESS})


def test_a_terminal_shows_stage_steps_loss_and_time_left() -> None:
    out = io.StringIO()
    with TerminalView(Console(file=out, force_terminal=True, width=120)) as view:
        view.show(status())
    for word in ("finetune running", "30/100", "loss 0.500", "ETA 2h10"):
        assert word in out.getvalue()


def test_a_terminal_prints_markup_as_it_is() -> None:
    out = io.StringIO()
    with TerminalView(Console(file=out, force_terminal=True, width=120)) as view:
        view.tell(Event("X", "bad row [red]7[/red]"))
    assert "[red]7[/red]" in out.getvalue()


def test_equal_statuses_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonView()
    view.show(status()), view.show(status())
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["eta"] == "2h10"


def test_a_pipe_never_gets_a_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonView()
    view.tell(Event("X", "a\x1b[31m\r\u2028"))
    view.finish(status(), SUMMARY)
    out = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in out)
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["X", "finished"]
