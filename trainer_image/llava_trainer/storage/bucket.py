"""How an S3 prefix keeps a job: conditional puts, files written on this machine and sent whole, folders with a marker.

A folder's marker is put before its first file and removed after its last: whoever finds it waits or refuses.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import obstore
from obstore.store import S3Store

from llava_contract.run import StorageTarget
from llava_trainer.errors import MissingInput
from llava_trainer.storage.answers import Access, translated
from llava_trainer.storage.connection import connect, endpoint_of
from llava_trainer.storage.location import parse_location
from llava_trainer.storage.mirror import INCOMPLETE, Mirror, cache_folder
from llava_trainer.storage.store import Storage

__all__ = ["BucketStorage", "fetch_uri", "open_bucket_storage"]

_PART_BYTES: Final = 32 << 20
_NUM_PARTS_AT_ONCE: Final = 4


def open_bucket_storage(target: StorageTarget, *, must_exist: bool) -> BucketStorage:
    """Open a prefix and ask the server about it, so that a wrong bucket or wrong credentials are told at once.

    Raises NoBucket, StorageForbidden, InvalidSpec for another region, Infrastructure for a server that does not
    answer, and MissingInput when something must be there and nothing is.
    """
    bucket, _, prefix = parse_location(target.uri).name.partition("/")
    prefix = prefix.strip("/")
    store = connect(bucket, prefix, target)
    mirror = Mirror.of(store, endpoint=endpoint_of(target), bucket=bucket, prefix=prefix)
    with translated(Access.READ, mirror.uri):
        first = next(iter(obstore.list(store, chunk_size=1)), None)
    if must_exist and not first:
        raise MissingInput(f"{mirror.uri}: there is nothing there; give the prefix of a job.")
    return BucketStorage(store, mirror)


def fetch_uri(uri: str, server: StorageTarget | None) -> Path:
    """Copy an object or everything below a prefix to this machine, whatever job it belongs to; errors as `fetch`."""
    bucket, _, key = parse_location(uri).name.partition("/")
    store = connect(bucket, "", server)
    return Mirror.of(store, endpoint=endpoint_of(server), bucket=bucket, prefix="").fetch(key.strip("/"))


class BucketStorage(Storage):
    """Objects of a bucket under a prefix; what is read as a file is a copy in the cache."""

    def __init__(self, store: S3Store, mirror: Mirror) -> None:
        super().__init__(store, mirror.uri)
        self._mirror = mirror

    def _inside(self, uri: str) -> str:
        return str(parse_location(uri))[len(self.uri) :]

    def place(self, path: str) -> str:
        """The URI of the object."""
        return self.uri_of(path)

    def local_path(self, path_or_uri: str) -> Path:
        """An up-to-date copy in the cache."""
        return self._mirror.fetch(self.key(path_or_uri))

    def draft(self, path: str) -> Path:
        """A file in the cache; another process has another, in another pod too: there, ids of processes are alike."""
        name = hashlib.sha256(self.uri_of(path).encode()).hexdigest()[:24]
        draft = cache_folder() / "drafts" / f"{name}-{socket.gethostname()}-{os.getpid()}"
        with translated(Access.WRITE, str(draft.parent)):
            draft.parent.mkdir(parents=True, exist_ok=True)
        return draft

    def adopt(self, path: str) -> None:
        """Send the draft and remove it."""
        draft = self.draft(path)
        try:
            self._send(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def new_folder(self, path: str, *, keep_old: bool = False) -> Iterator[Path]:
        """Fill a folder in the cache and send it, with a marker for as long as that takes."""
        folder = self.draft(path)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with translated(Access.WRITE, str(folder)):
                folder.mkdir()
            yield folder
            self._send_folder(folder, self.key(path), keep_old=keep_old)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def require_space(self, size_bytes: int) -> None:
        """Do nothing: a bucket names no limit."""

    def _send(self, file: Path, path: str) -> None:
        """Send a file in parts; obstore gives the parts up when one fails for good."""
        with translated(Access.WRITE, self.place(path)):
            obstore.put(self._store, self.key(path), file, chunk_size=_PART_BYTES, max_concurrency=_NUM_PARTS_AT_ONCE)

    def _send_folder(self, folder: Path, path: str, *, keep_old: bool) -> None:
        old = {item.path for item in self.list(path)}
        self.write(f"{path}/{INCOMPLETE}", b"files are being written")
        files = {f"{path}/{file.relative_to(folder).as_posix()}": file for file in folder.rglob("*") if file.is_file()}
        for key, file in files.items():
            self._send(file, key)
        for key in () if keep_old else sorted(old - files.keys()):
            self.delete(key)
        self.delete(f"{path}/{INCOMPLETE}")
