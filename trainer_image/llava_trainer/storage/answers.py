"""What a storage can answer besides bytes: one table from foreign errors to ours, and the closed union for resume.

Found | Absent | Forbidden | Unreachable: only Absent may ever be taken as "there was nothing".
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from obstore import exceptions as foreign

from llava_trainer.errors import (
    Infrastructure,
    InvalidSpec,
    LlavaError,
    MissingInput,
    NoSpace,
    StorageForbidden,
    StorageUnwritable,
)

__all__ = [
    "Absent", "Access", "AlreadyWritten", "Answer", "Forbidden", "Found", "NoBucket", "Unreachable", "translated",
]  # fmt: skip


class AlreadyWritten(Infrastructure):
    """A create-only write came second: somebody else has written this object."""


class NoBucket(MissingInput):
    """The whole bucket is not there: that says nothing about an object in it."""


@dataclass(frozen=True, slots=True)
class Found:
    """The object's bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Absent:
    """The storage was asked and has no such object."""

    message: str


@dataclass(frozen=True, slots=True)
class Forbidden:
    """The storage would not say: credentials or rights are missing or have expired."""

    message: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The storage did not answer."""

    message: str


Answer = Found | Absent | Forbidden | Unreachable


class Access(StrEnum):
    """What we wanted of the storage; the same refusal means another thing to a reader and to a writer."""

    READ = "read"
    WRITE = "write"


_FOREIGN: Final[tuple[tuple[type[BaseException], type[LlavaError]], ...]] = (
    (foreign.AlreadyExistsError, AlreadyWritten),
    (foreign.PreconditionError, AlreadyWritten),
    (foreign.PermissionDeniedError, StorageForbidden),
    (foreign.UnauthenticatedError, StorageForbidden),
)

# What an S3 server calls it; the status alone leaves open which of these it is, and obstore's classes know fewer.
_BAD_CREDENTIALS: Final = (
    "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId", "SignatureDoesNotMatch",
    "RequestTimeTooSkewed",
)  # fmt: skip
_BAD_REGION: Final = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
_FULL: Final = ("QuotaExceeded", "XMinioStorageFull", "InsufficientStorage")
_BY_CODE: Final = MappingProxyType(
    {
        Access.READ: {StorageForbidden: ("AccessDenied", *_BAD_CREDENTIALS), NoBucket: ("NoSuchBucket",)},
        Access.WRITE: {StorageForbidden: _BAD_CREDENTIALS, StorageUnwritable: ("AccessDenied", "NoSuchBucket")},
    }
)

_BY_NUMBER: Final = MappingProxyType(
    {
        Access.READ: {
            MissingInput: (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
            StorageForbidden: (errno.EACCES, errno.EPERM),
        },
        Access.WRITE: {
            StorageUnwritable: (
                errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
            ),
            NoSpace: (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        },
    }
)  # fmt: skip

_SENTENCES: Final = MappingProxyType(
    {
        AlreadyWritten: "{place}: another writer was first ({why}); this attempt must not go on under that name.",
        NoBucket: "{place}: there is no such bucket ({why}); correct the URI or the endpoint.",
        InvalidSpec: "{place}: the bucket is elsewhere ({why}); set storage.region to the bucket's.",
        MissingInput: "{place}: there is nothing there ({why}); correct the path or URI.",
        StorageForbidden: "{place}: may not be used ({why}); give this user or its credentials access.",
        StorageUnwritable: "{place}: cannot be written ({why}); choose a storage location that this user may write to.",
        NoSpace: "{place}: the storage is full ({why}); free space there or choose a larger location.",
        Infrastructure: "{place}: the storage failed ({why}); try again, a restart usually helps.",
    }
)


@contextmanager
def translated(access: Access, place: str) -> Iterator[None]:
    """Turn what obstore or the system raises inside into one of ours; `place` is what the sentence names."""
    try:
        yield
    except (foreign.BaseError, OSError) as error:
        number = _number(error)
        code, message = _code(error)
        kind = _kind(error, code, access) or _kind_of_number(number, access)
        why = message if code or not number else os.strerror(number)
        raise kind(_SENTENCES[kind].format(place=place, why=why)) from error


def _kind(error: BaseException, code: str, access: Access) -> type[LlavaError] | None:
    """Choose by the server's word, and without one that we know by the class of the exception."""
    if code in _BAD_REGION:
        return InvalidSpec
    if code in _FULL:
        return NoSpace
    by_code = next((ours for ours, codes in _BY_CODE[access].items() if code in codes), None)
    return by_code or next((ours for theirs, ours in _FOREIGN if isinstance(error, theirs)), None)


def _kind_of_number(number: int | None, access: Access) -> type[LlavaError]:
    return next((ours for ours, numbers in _BY_NUMBER[access].items() if number in numbers), Infrastructure)


def _code(error: BaseException) -> tuple[str, str]:
    """Read an S3 server's own word and sentence out of what obstore quotes; "" and obstore's first line without."""
    text = str(error)
    code = re.search(r"<Code>(\w+)</Code>|\(code: (\w+)\)", text)
    line = text.partition("\n")[0].partition("<?xml")[0].strip(" :")[:300]
    if code is None:
        return "", line
    word = code[1] or code[2]
    said = re.search(r"<Message>([^<]*)</Message>", text)
    return word, f"{word}: {said[1]}" if said else word


def _number(error: BaseException) -> int | None:
    """The system's error number; obstore has it only in its text, and raises its own FileNotFoundError without one."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    if isinstance(error, FileNotFoundError):
        return errno.ENOENT
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told.group(1)) if told else None
