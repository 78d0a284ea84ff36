"""How a running job looks: one line that moves on a terminal, JSON lines in a pipe."""

from __future__ import annotations

import json
import sys
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from llava_cli.run_summary import RunSummary
from llava_contract.v1alpha1.status import JobStatus
from llava_operator.core.events import Event

__all__ = ["JsonView", "RunView", "TerminalView", "choose_view"]


class RunView(Protocol):
    """Somebody who looks on."""

    def __enter__(self) -> RunView: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, status: JobStatus) -> None:
        """See the status that was just written."""

    def tell(self, event: Event) -> None:
        """Hear of a change of course."""

    def finish(self, status: JobStatus, summary: RunSummary) -> None:
        """See how it ended."""

    def say(self, line: str) -> None:
        """Read a line that is for people."""


def choose_view() -> RunView:
    """A moving line where somebody watches, JSON lines where a program reads."""
    return TerminalView() if sys.stdout.isatty() else JsonView()


class TerminalView:
    """Stage, bar, steps, loss and the time that is left, on the last line of the terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[told]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None, told="")

    def __enter__(self) -> TerminalView:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, status: JobStatus) -> None:
        """Move the line."""
        stage, progress = status.stage(status.current_stage), status.progress
        if stage is None:
            return
        words = [] if progress is None else [progress.summary]
        if progress and progress.loss is not None:
            words.append(f"loss {progress.loss:.3f}")
        if progress and progress.eta:
            words.append(f"ETA {progress.eta}")
        if stage.restarts:
            words.append(f"attempt {stage.attempt}")
        self._bar.update(
            self._task,
            description=f"{stage.name} {stage.state.lower()}",
            total=progress.total_steps if progress and progress.total_steps else None,
            completed=progress.step if progress else 0,
            told="  ".join(words),
        )

    def tell(self, event: Event) -> None:
        """Print the sentence above the line."""
        self.say(event.message)

    def say(self, line: str) -> None:
        """Print a line of text."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def finish(self, status: JobStatus, summary: RunSummary) -> None:  # noqa: ARG002  the tables say it
        """Print the tables and where things are."""
        self._bar.stop()
        for table in summary.to_tables():
            self._console.print(table)
        for line in summary.to_lines():
            self.say(line)


class JsonView:
    """One JSON object a line on stdout, for programs; the tables go to stderr, for people."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}
        self._people = Console(stderr=True, no_color=True, force_terminal=False, width=100)

    def __enter__(self) -> JsonView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, status: JobStatus) -> None:
        """Print what changed since the last line; nothing when nothing did."""
        stage, progress = status.stage(status.current_stage), status.progress
        line: dict[str, Any] = {"event": "progress", "phase": status.phase, "restarts": status.restarts}
        if stage is not None:
            line |= {"stage": stage.name, "attempt": stage.attempt, "state": stage.state}
        if progress is not None:
            line |= progress.model_dump(mode="json")
        if line != self._last:
            self._last = line
            _print_json(line)

    def tell(self, event: Event) -> None:
        """Print the event."""
        _print_json({"event": event.reason, "message": event.message})

    def say(self, line: str) -> None:
        """Print a line of text for people."""
        self._people.print(line, markup=False, highlight=False, soft_wrap=True)

    def finish(self, status: JobStatus, summary: RunSummary) -> None:
        """Print the summary twice: for programs and for people."""
        _print_json({"event": "finished", "phase": status.phase, **summary.to_json()})
        for table in summary.to_tables():
            self._people.print(table)
        for line in summary.to_lines():
            self.say(line)


def _print_json(line: dict[str, Any]) -> None:
    # ASCII only: escapes keep every control character out of the pipe.
    print(json.dumps(line), flush=True)
