"""Where copies of S3 objects lie on this machine, and how it is told that one is still the object without reading it.

Below LLAVA_CACHE_DIR, one folder a server and bucket: `files` holds copies under their keys, `notes` the tag and size
that each was fetched with, `locks` lets one process fetch what others of this machine wait for.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
        place = f"{self.uri}/{key}".rstrip("/")
        try:
            if not key:
                raise MissingInput(place)
            with translated(Access.READ, place):
                found = [obstore.head(self.store, key)]
        except MissingInput:
            found = self._below(key, place)
        target = self._path("files", key)
        with self._lock(key, is_tree=True), ThreadPoolExecutor(_NUM_CONNECTIONS, thread_name_prefix="s3") as pool:
            kept = set(pool.map(self._fetch_one, found))
            if target.is_dir():
                _remove_others(target, kept)
        return target

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
        with self._lock(key), translated(Access.WRITE, str(file)):
            if file.is_file() and file.stat().st_size == size and note.is_file() and note.read_text() == told:
                return file
            for parent in (file.parent, note.parent):
                parent.mkdir(parents=True, exist_ok=True)
            note.unlink(missing_ok=True)
            draft = file.with_name(f"{file.name}{_DRAFT}")
            self._download(key, draft)
            # Prepared data are named after the times of their sources: they must not depend on when a copy was made.
            changed_s = item["last_modified"].timestamp()
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
        """Let one thread of all processes of this machine in; the kernel unlocks for those that die."""
        digest = hashlib.sha256(f"{self.prefix}/{key}".strip("/").encode()).hexdigest()
        file = self.folder / "locks" / (f"tree-{digest}" if is_tree else digest[:3])
        with translated(Access.WRITE, str(file)):
            file.parent.mkdir(parents=True, exist_ok=True)
            opened = file.open("a")
        with opened:
            fcntl.flock(opened, fcntl.LOCK_EX)
            yield


def _remove_others(folder: Path, kept: set[Path]) -> None:
    """Remove copies of what is no longer there."""
    with translated(Access.WRITE, str(folder)):
        for file in folder.rglob("*"):
            if not file.is_dir() and file not in kept and not file.name.endswith(_DRAFT):
                file.unlink()
