"""What the operator itself can refuse or fail at; each error carries the cause whose exit code the command ends with.

OperatorError
├── InvalidSpec        a field that a stage needs is not there
├── SpecRefused        a spec that no pod of this cluster can ever carry out; mending it lets the job go on
├── ModelMissing       a job on this machine finds no model of the job that it names
├── AnotherSpec        the directory holds a job with another spec
├── DirectoryBusy      another `llava run` works in the directory
├── StateUnreadable    job.json is there but cannot be read
├── Unwritable         the directory cannot be written
├── NoSpace            the directory's file system is full
├── Unsupported        something that only a cluster can do
├── CannotStart        the operating system refused to start a process
├── Refused            the API server does not accept what was asked; the same call would be refused again
│   └── Malformed      the body itself is wrong, whoever sends it
├── AlreadyExists      an object of that name is there
├── Conflict           somebody else wrote the object in between
├── Transient          the API server is busy or out of reach; the same call may succeed later
├── NotLeader          this replica may not change anything (any more)
├── JobFailed          a job ended as Failed; carries the failure's own cause
└── Interrupted        Ctrl-C, or SIGTERM with the cause that belongs to it
"""

from __future__ import annotations

from llava_contract import causes

__all__ = [
    "AlreadyExists", "AnotherSpec", "CannotStart", "Conflict", "DirectoryBusy", "Interrupted", "InvalidSpec",
    "JobFailed", "Malformed", "ModelMissing", "NoSpace", "NotLeader", "OperatorError", "Refused", "SpecRefused",
    "StateUnreadable", "Transient", "Unsupported", "Unwritable",
]  # fmt: skip


class OperatorError(Exception):
    """Base of the operator's errors; str(error) is the sentence that the user reads."""

    cause: causes.Cause = causes.UNEXPECTED


class InvalidSpec(OperatorError):
    """A field that a stage needs is not there."""

    cause = causes.INVALID_SPEC


class SpecRefused(OperatorError):
    """A spec that no pod of this cluster can ever carry out; mending it lets the job go on."""

    cause = causes.INVALID_SPEC


class ModelMissing(OperatorError):
    """A job on this machine finds no model of the job that it names."""

    cause = causes.MISSING_INPUT


class AnotherSpec(OperatorError):
    """The directory holds a job with another spec."""

    cause = causes.USAGE


class DirectoryBusy(OperatorError):
    """Another `llava run` works in the directory."""

    cause = causes.USAGE


class StateUnreadable(OperatorError):
    """job.json is there but cannot be read."""

    cause = causes.CORRUPT_STATE


class Unwritable(OperatorError):
    """The directory cannot be written."""

    cause = causes.UNWRITABLE


class NoSpace(OperatorError):
    """The directory's file system is full."""

    cause = causes.NO_SPACE


class Unsupported(OperatorError):
    """Something that only a cluster can do."""

    cause = causes.UNSUPPORTED


class CannotStart(OperatorError):
    """The operating system refused to start a process."""

    cause = causes.INFRASTRUCTURE


class Refused(OperatorError):
    """The API server does not accept what was asked; the same call would be refused again."""

    cause = causes.INVALID_SPEC


class Malformed(Refused):
    """The body itself is wrong, whoever sends it."""


class AlreadyExists(OperatorError):
    """An object of that name is there."""

    cause = causes.INFRASTRUCTURE


class Conflict(OperatorError):
    """Somebody else wrote the object in between."""

    cause = causes.INFRASTRUCTURE


class Transient(OperatorError):
    """The API server is busy or out of reach; the same call may succeed later."""

    cause = causes.INFRASTRUCTURE


class NotLeader(OperatorError):
    """This replica may not change anything (any more)."""

    cause = causes.INFRASTRUCTURE


class JobFailed(OperatorError):
    """A job ended as Failed."""

    def __init__(self, message: str, *, cause: causes.Cause) -> None:
        super().__init__(message)
        self.cause = cause


class Interrupted(OperatorError):
    """Somebody asked the command to leave, and it stopped its attempt first."""

    def __init__(self, message: str, *, cause: causes.Cause) -> None:
        super().__init__(message)
        self.cause = cause
