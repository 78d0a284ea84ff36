"""What is wrong with a job file, as values: where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llava_contract import causes

__all__ = ["InvalidJob", "JobFileError", "MissingJobFile", "Problem"]


@dataclass(frozen=True)
class Problem:
    """One refusal; `path` is the field as the API server writes it, empty for the file itself; `line` is 1-based."""

    path: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class JobFileError(Exception):
    """Base of what can be wrong with a job file; it carries the cause whose code the command exits with."""

    cause: causes.Cause = causes.INVALID_SPEC


class InvalidJob(JobFileError):
    """A job cannot run as it is written; str() is one sentence a problem."""

    def __init__(self, problems: Iterable[Problem], source: str = "") -> None:
        self.problems = tuple(problems)
        prefix = f"{source}: " if source else ""
        super().__init__("\n".join(f"{prefix}{problem}" for problem in self.problems))


class MissingJobFile(JobFileError):
    """There is no job file to read at the path."""

    cause = causes.MISSING_INPUT

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: cannot be read ({reason}); give the path of a YAML file")
