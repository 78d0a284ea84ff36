"""The trainer's exception tree; each error carries the cause whose exit code the process will end with.

LlavaError
├── InvalidSpec          a field of the run's configuration is wrong
├── WrongTemplate        the prompt template does not fit the LLM's tokenizer
├── BadData              rows, images or a benchmark file that cannot be used as they are
├── MissingInput         a file, folder or weights that should be there are not
├── StorageForbidden     the storage says no
├── StorageUnwritable    the storage location cannot be written
├── NoSpace              the storage location is full
├── WeightsMismatch      weights whose keys or shapes are not the model's
├── Unsupported          a combination that cannot work
├── CorruptState         no checkpoint verifies
├── Infrastructure       network, storage or device failed; a restart may help
├── OutOfMemory          a device or the host has too little memory
├── Diverged              the loss is not a number, or has left its course
├── Interrupted          Ctrl-C
└── Terminated           SIGTERM
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llava_contract import causes

__all__ = [
    "BadData",
    "CorruptState",
    "Diverged",
    "Infrastructure",
    "Interrupted",
    "InvalidSpec",
    "LlavaError",
    "MissingInput",
    "NoSpace",
    "OutOfMemory",
    "StorageForbidden",
    "StorageUnwritable",
    "Terminated",
    "Unsupported",
    "WeightsMismatch",
    "WrongTemplate",
    "naming",
]


class LlavaError(Exception):
    """Base of all errors a user can act on; str(error) is the sentence that the user reads."""

    cause: causes.Cause = causes.UNEXPECTED


class InvalidSpec(LlavaError):
    """A field of the run's configuration is wrong."""

    cause = causes.INVALID_SPEC


class WrongTemplate(LlavaError):
    """The prompt template does not fit the LLM's tokenizer."""

    cause = causes.WRONG_TEMPLATE


class BadData(LlavaError):
    """Rows, images or a benchmark file cannot be used as they are."""

    cause = causes.BAD_DATA


class MissingInput(LlavaError):
    """A file, folder or weights that should be there are not."""

    cause = causes.MISSING_INPUT


class StorageForbidden(LlavaError):
    """The storage answered that we may not."""

    cause = causes.FORBIDDEN


class StorageUnwritable(LlavaError):
    """The storage location cannot be written."""

    cause = causes.UNWRITABLE


class NoSpace(LlavaError):
    """The storage location is full."""

    cause = causes.NO_SPACE


class WeightsMismatch(LlavaError):
    """Weights have keys or shapes that are not the model's."""

    cause = causes.WEIGHTS_MISMATCH


class Unsupported(LlavaError):
    """A combination of settings cannot work."""

    cause = causes.UNSUPPORTED


class CorruptState(LlavaError):
    """No checkpoint verifies, although one was committed."""

    cause = causes.CORRUPT_STATE


class Infrastructure(LlavaError):
    """Network, storage or a device failed; a restart may help."""

    cause = causes.INFRASTRUCTURE


class OutOfMemory(LlavaError):
    """A device or the host has too little memory."""

    cause = causes.OUT_OF_MEMORY


class Diverged(LlavaError):
    """The loss is not a number, or has left its course."""

    cause = causes.DIVERGED


class Interrupted(LlavaError):
    """The user pressed Ctrl-C."""

    cause = causes.INTERRUPTED


class Terminated(LlavaError):
    """The process was asked to leave."""

    cause = causes.TERMINATED


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Put the field that is to blame in front of what is wrong."""
    try:
        yield
    except LlavaError as error:
        raise type(error)(f"{field}: {error}") from error
