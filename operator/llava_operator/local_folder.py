"""A job's directory on this machine before anything is in it: may we write there, is there space, is it ours alone."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llava_operator.errors import DirectoryBusy, NoSpace, Unwritable

__all__ = ["locked_folder", "prepare_folder", "write_whole"]

MIN_FREE_BYTES = 64 * 2**20
"""Less than this holds no job at all; how much one needs depends on its models."""


def prepare_folder(folder: Path, *, min_free_bytes: int = MIN_FREE_BYTES) -> None:
    """Create the folder and write to it once; raises Unwritable or NoSpace, before anything costly has started."""
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(folder).free
        if free_bytes < min_free_bytes:
            raise OSError(errno.ENOSPC, f"{free_bytes / 2**20:.0f} MiB are free, {min_free_bytes / 2**20:.0f} needed")
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"may I?")


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Own the folder; DirectoryBusy when another process does. The kernel gives it back however we end."""
    with _told(folder):
        lock = (folder / "job.lock").open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            told = f"{folder} is in use by another `llava run`: wait for it or choose another --dir."
            raise DirectoryBusy(told) from error
        yield


def write_whole(file: Path, text: str) -> None:
    """Replace a file by a rename, so that a reader finds the old text or the new one and never a part."""
    with _told(file):
        draft = file.with_name(f".{file.name}.draft")
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(f"{path}: no space left ({error.strerror}): free some or choose another --dir.") from error
        raise Unwritable(f"{path} cannot be written ({error.strerror}): choose another --dir.") from error
