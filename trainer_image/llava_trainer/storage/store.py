"""The job's storage prefix: every read and write of an object goes through here, whole or not at all.

A write is staged beside its name and then renamed or, create-only, hard-linked: nobody ever reads half an object, and
of two create-only writers one wins. Objects are named by paths relative to the prefix, with forward slashes.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import obstore
from obstore.store import LocalStore, ObjectStore

from llava_contract.run import StorageTarget
from llava_trainer.errors import (
    Infrastructure,
    InvalidSpec,
    MissingInput,
    NoSpace,
    StorageForbidden,
    Unsupported,
)
from llava_trainer.storage.answers import Absent, Access, Answer, Forbidden, Found, Unreachable, translated
from llava_trainer.storage.location import Scheme, parse_location

__all__ = ["ObjectInfo", "Storage", "open_storage"]


@dataclass(frozen=True, slots=True, order=True)
class ObjectInfo:
    """One stored object; `size` in bytes."""

    path: str
    size: int


def open_storage(target: StorageTarget | str, *, must_exist: bool = False) -> Storage:
    """Open a storage prefix, making its folder unless it must be there already.

    Raises MissingInput, StorageUnwritable, or Unsupported for a place that cannot hold a job.
    """
    uri = target if isinstance(target, str) else target.uri
    location = parse_location(uri)
    match location.scheme:
        case Scheme.FILE:
            return _open_folder(location.path, must_exist=must_exist)
        case Scheme.S3:
            raise Unsupported(f"{uri}: this version stores jobs in folders only; use a path or a file:// URI.")
        case Scheme.PVC:
            raise Unsupported(f"{uri}: a claim exists only on a cluster; use a path or a file:// URI here.")
        case Scheme.HF:
            raise Unsupported(f"{uri}: the hub cannot hold a running job; use a path or a file:// URI.")
        case _:
            assert_never(location.scheme)


def _open_folder(folder: Path, *, must_exist: bool) -> Storage:
    if must_exist and not folder.is_dir():
        raise MissingInput(f"{folder}: there is no such folder; give the folder of a job.")
    with translated(Access.WRITE, str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        store = LocalStore(prefix=folder, automatic_cleanup=True)
    return Storage(store, folder.as_uri(), folder=folder)


class Storage:
    """A prefix with objects under it; every path may also be given as a URI inside the prefix."""

    def __init__(self, store: ObjectStore, uri: str, *, folder: Path) -> None:
        self._store, self.uri, self._folder = store, uri.rstrip("/"), folder

    def uri_of(self, path: str) -> str:
        """The URI under which others find an object or a prefix."""
        return f"{self.uri}/{self.key(path)}"

    def key(self, path_or_uri: str) -> str:
        """The path relative to the prefix; InvalidSpec for a place outside."""
        if path_or_uri.startswith("/") or "://" in path_or_uri:
            inside = str(parse_location(path_or_uri))
            if inside != self.uri and not inside.startswith(self.uri + "/"):
                raise InvalidSpec(f"{path_or_uri}: lies outside the job's storage {self.uri}; move it there.")
            path_or_uri = str(parse_location(path_or_uri).path.relative_to(self._folder))
        key = path_or_uri.strip("/")
        return "" if key == "." else key

    def read(self, path: str) -> bytes:
        """The bytes of an object; MissingInput, StorageForbidden or Infrastructure when there are none to have."""
        with translated(Access.READ, self._place(path)):
            return bytes(obstore.get(self._store, self.key(path)).bytes())

    def look(self, path: str) -> Answer:
        """What the storage says about an object, where every answer leads to a different decision."""
        try:
            return Found(self.read(path))
        except MissingInput as error:
            return Absent(str(error))
        except StorageForbidden as error:
            return Forbidden(str(error))
        except Infrastructure as error:
            return Unreachable(str(error))

    def exists(self, path: str) -> bool:
        """Whether there is an object of that name; a prefix is none. StorageForbidden, Infrastructure when unknown."""
        try:
            with translated(Access.READ, self._place(path)):
                obstore.head(self._store, self.key(path))
        except MissingInput:
            return False
        return True

    def list(self, prefix: str = "") -> list[ObjectInfo]:
        """All objects under a prefix (whole path segments), by name; nothing there is an empty list."""
        with translated(Access.READ, self._place(prefix)):
            found = obstore.list(self._store, self.key(prefix) or None).collect()
        return sorted(ObjectInfo(item["path"], item["size"]) for item in found)

    def write(self, path: str, data: bytes, *, create_only: bool = False) -> None:
        """Store bytes, replacing what was there; create-only, AlreadyWritten says that somebody was first.

        Raises StorageUnwritable, NoSpace, StorageForbidden or Infrastructure; the old object is then still whole.
        """
        with translated(Access.WRITE, self._place(path)):
            obstore.put(self._store, self.key(path), data, mode=_mode(create_only))

    def delete(self, path: str) -> None:
        """Remove an object; one that is gone already is fine. Raises StorageUnwritable or Infrastructure."""
        with translated(Access.WRITE, self._place(path)), suppress(FileNotFoundError):
            obstore.delete(self._store, self.key(path))

    def local_path(self, path_or_uri: str) -> Path:
        """Where an object or a whole prefix can be opened as a file or folder of this machine; it need not exist."""
        if "://" in path_or_uri or path_or_uri.startswith("/"):
            return parse_location(path_or_uri).path
        return self._folder / self.key(path_or_uri)

    def require_space(self, size_bytes: int) -> None:
        """NoSpace, with both numbers, when fewer bytes than these are free."""
        with translated(Access.READ, self.uri):
            free = shutil.disk_usage(self._folder).free
        if free < size_bytes:
            raise NoSpace(
                f"{self.uri}: {_gigabytes(size_bytes)} are needed and {_gigabytes(free)} are free; "
                "free space there or choose a larger location."
            )

    def require_writable(self) -> None:
        """StorageUnwritable, NoSpace or StorageForbidden when an object cannot be written here."""
        self.write(".write-check", b"may this user write here?")
        self.delete(".write-check")

    def _place(self, path: str) -> str:
        return str(self._folder / self.key(path))


def _mode(create_only: bool) -> Literal["create", "overwrite"]:
    return "create" if create_only else "overwrite"


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.3f} GB"
