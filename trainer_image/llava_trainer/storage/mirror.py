"""Where copies of S3 objects lie on this machine, and how it is told that one is still the object without reading it.

Below LLAVA_CACHE_DIR, one folder a server and bucket: `files` holds copies under their keys, `notes` the tag and size
that each was fetched with, `locks` lets one process fetch what others wait for. The folder may lie on a volume that the
pods of several machines share: where it cannot lock, two of them fetch the same file and neither harms it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import obstore
from obstore.store import S3Store

from llava_contract.run import CACHE_DIR_ENV
from llava_trainer.errors import BadData, MissingInput
from llava_trainer.storage.answers import Access, translated

if TYPE_CHECKING:
    from obstore import ObjectMeta

__all__ = ["INCOMPLETE", "Mirror", "cache_folder"]

INCOMPLETE: Final = ".incomplete"
"""Stands in a folder for as long as its files are being written."""
_DRAFT: Final = ".llava-part"
_ABANDONED_S: Final = 86_400.0
"""No file is written for a day without a byte: who began a draft so long ago was killed."""
_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_NUM_CONNECTIONS: Final = 16
_CHUNK_BYTES: Final = 8 << 20


def cache_folder() -> Path:
    """LLAVA_CACHE_DIR, or `llava` in the user's cache folder."""
    if named := os.environ.get(CACHE_DIR_ENV):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "llava"


@dataclass(frozen=True)
class Mirror:
    """Copies of what lies under one prefix of a bucket; `uri` names the prefix to people."""

    store: S3Store
    uri: str
    folder: Path
    prefix: str

    @classmethod
    def of(cls, store: S3Store, *, endpoint: str | None, bucket: str, prefix: str) -> Mirror:
        """Give the mirror of a prefix: the same folder for every prefix of a server's bucket."""
        server = hashlib.sha256((endpoint or "aws").encode()).hexdigest()[:12]
        uri = f"s3://{bucket}/{prefix}".rstrip("/")
        return cls(store, uri, cache_folder() / "s3" / server / bucket, prefix)

    def fetch(self, key: str) -> Path:
        """Copy an object, or everything below a prefix, unless the copy is up to date; give its path.

        Raises MissingInput when there is nothing or a folder is half written, and what reading and writing raise.
        """
        target = self._path("files", key)
        with self._lock(key, is_tree=True), ThreadPoolExecutor(_NUM_CONNECTIONS, thread_name_prefix="s3") as pool:
            # Listed under the lock: an older list would remove what somebody fetched by a newer one.
            kept = set(pool.map(self._fetch_one, self._found(key)))
            if target.is_dir():
                _remove_others(target, kept)
        return target

    def _found(self, key: str) -> list[ObjectMeta]:
        place = f"{self.uri}/{key}".rstrip("/")
        try:
            if not key:
                raise MissingInput(place)
            with translated(Access.READ, place):
                return [obstore.head(self.store, key)]
        except MissingInput:
            return self._below(key, place)

    def _below(self, key: str, place: str) -> list[ObjectMeta]:
        with translated(Access.READ, place):
            found: Sequence[ObjectMeta] = obstore.list(self.store, key or None).collect()
        if not found:
            raise MissingInput(f"{place}: there is nothing there; correct the URI.")
        if any(PurePosixPath(item["path"]).name == INCOMPLETE for item in found):
            raise MissingInput(f"{place}: only a part of it has been written; run the stage that writes it again.")
        # An empty object under a folder's name is how some programs make folders.
        folders = {str(parent) for item in found for parent in PurePosixPath(item["path"]).parents}
        return [item for item in found if item["path"] not in folders]

    def _fetch_one(self, item: ObjectMeta) -> Path:
        key, size = item["path"], item["size"]
        if not {"", ".", ".."}.isdisjoint(key.split("/")):
            raise BadData(f"{self.uri}/{key}: this key is no path of a file; rename the object.")
        file, note = self._path("files", key), self._path("notes", key)
        told = f"{item['e_tag']} {size}"
        # Prepared data are named after the times of their sources: they must not depend on when a copy was made.
        changed_s = int(item["last_modified"].timestamp())
        with self._lock(key), translated(Access.WRITE, str(file)):
            is_noted = note.is_file() and note.read_text() == told
            if is_noted and file.is_file() and _is_version(file, size, changed_s):
                return file
            for parent in (file.parent, note.parent):
                parent.mkdir(parents=True, exist_ok=True)
            note.unlink(missing_ok=True)
            with _draft_of(file) as draft:
                self._download(key, draft)
                os.utime(draft, (changed_s, changed_s))
                draft.replace(file)
            note.write_text(told)
        return file

    def _download(self, key: str, draft: Path) -> None:
        with translated(Access.READ, f"{self.uri}/{key}"):
            chunks = iter(obstore.get(self.store, key).stream(min_chunk_size=_CHUNK_BYTES))
        with draft.open("wb") as file:
            while True:
                with translated(Access.READ, f"{self.uri}/{key}"):
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                file.write(chunk)

    def _path(self, kind: str, key: str) -> Path:
        return self.folder / kind / self.prefix / key

    @contextmanager
    def _lock(self, key: str, *, is_tree: bool = False) -> Iterator[None]:
        """Let one thread of all processes in, where the file system can lock; the kernel unlocks for those that die."""
        digest = hashlib.sha256(f"{self.prefix}/{key}".strip("/").encode()).hexdigest()
        file = self.folder / "locks" / (f"tree-{digest}" if is_tree else digest[:3])
        with translated(Access.WRITE, str(file)):
            file.parent.mkdir(parents=True, exist_ok=True)
            opened = file.open("a")
        with opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            yield


def _is_version(file: Path, size: int, changed_s: int) -> bool:
    """Say whether the copy is the noted version: without locks another one may have come in between."""
    state = file.stat()
    return state.st_size == size and int(state.st_mtime) == changed_s


@contextmanager
def _draft_of(file: Path) -> Iterator[Path]:
    """Give a place beside a file that nobody else writes to, and leave nothing there."""
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}{_DRAFT}")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _remove_others(folder: Path, kept: set[Path]) -> None:
    """Remove copies of what is no longer there, and drafts of those who were killed."""
    with translated(Access.WRITE, str(folder)):
        for file in folder.rglob("*"):
            if not file.is_dir() and file not in kept and not _is_being_written(file):
                file.unlink(missing_ok=True)


def _is_being_written(file: Path) -> bool:
    if not file.name.endswith(_DRAFT):
        return False
    with suppress(FileNotFoundError):
        return time.time() - file.stat().st_mtime < _ABANDONED_S
    return True
