"""What a job's storage prefix offers, wherever it lies: every object is read and written whole or not at all.

Of two create-only writers one wins. Objects are named by paths relative to the prefix, with forward slashes; every
path may also be given as a URI inside the prefix. folder.py and bucket.py say how each kind of place keeps this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import obstore
from obstore.store import ObjectStore

from llava_trainer.errors import Infrastructure, InvalidSpec, MissingInput, StorageForbidden
from llava_trainer.storage.answers import Absent, Access, Answer, Forbidden, Found, NoBucket, Unreachable, translated
from llava_trainer.storage.location import parse_location

__all__ = ["ObjectInfo", "Storage"]


@dataclass(frozen=True, slots=True, order=True)
class ObjectInfo:
    """One stored object; `size` in bytes."""

    path: str
    size: int


class Storage(ABC):
    """A prefix with objects under it, over one of obstore's stores."""

    def __init__(self, store: ObjectStore, uri: str) -> None:
        self._store, self.uri = store, uri.rstrip("/")

    def uri_of(self, path: str) -> str:
        """The URI under which others find an object or a prefix."""
        return f"{self.uri}/{self.key(path)}"

    def key(self, path_or_uri: str) -> str:
        """The path relative to the prefix; InvalidSpec for a place outside."""
        if path_or_uri.startswith("/") or "://" in path_or_uri:
            inside = str(parse_location(path_or_uri))
            if inside != self.uri and not inside.startswith(self.uri + "/"):
                raise InvalidSpec(f"{path_or_uri}: lies outside the job's storage {self.uri}; move it there.")
            path_or_uri = self._inside(path_or_uri)
        key = path_or_uri.strip("/")
        return "" if key == "." else key

    @abstractmethod
    def _inside(self, uri: str) -> str:
        """Cut the prefix off a URI that starts with it."""

    @abstractmethod
    def place(self, path: str) -> str:
        """How people are told of an object: a path of this machine, or a URI."""

    def read(self, path: str) -> bytes:
        """The bytes of an object; MissingInput, StorageForbidden or Infrastructure when there are none to have."""
        with translated(Access.READ, self.place(path)):
            return bytes(obstore.get(self._store, self.key(path)).bytes())

    def look(self, path: str) -> Answer:
        """What the storage says about an object, where every answer leads to a different decision."""
        try:
            return Found(self.read(path))
        except (NoBucket, Infrastructure) as error:
            return Unreachable(str(error))
        except MissingInput as error:
            return Absent(str(error))
        except StorageForbidden as error:
            return Forbidden(str(error))

    def exists(self, path: str) -> bool:
        """Whether there is an object of that name; a prefix is none. StorageForbidden, Infrastructure when unknown."""
        try:
            with translated(Access.READ, self.place(path)):
                obstore.head(self._store, self.key(path))
        except MissingInput:
            return False
        return True

    def list(self, prefix: str = "") -> list[ObjectInfo]:
        """All objects under a prefix (whole path segments), by name; nothing there is an empty list."""
        with translated(Access.READ, self.place(prefix)):
            found = obstore.list(self._store, self.key(prefix) or None).collect()
        return sorted(ObjectInfo(item["path"], item["size"]) for item in found)

    def write(self, path: str, data: bytes, *, create_only: bool = False) -> None:
        """Store bytes, replacing what was there; create-only, AlreadyWritten says that somebody was first.

        Raises StorageUnwritable, NoSpace, StorageForbidden or Infrastructure; the old object is then still whole.
        """
        with translated(Access.WRITE, self.place(path)):
            obstore.put(self._store, self.key(path), data, mode=_mode(create_only))

    def delete(self, path: str) -> None:
        """Remove an object; one that is gone already is fine. Raises StorageUnwritable or Infrastructure."""
        with translated(Access.WRITE, self.place(path)), suppress(FileNotFoundError):
            obstore.delete(self._store, self.key(path))

    @abstractmethod
    def local_path(self, path_or_uri: str) -> Path:
        """Where an object or a whole prefix can be read as a file or folder of this machine.

        Of a folder's it is the place itself, which need not exist; of a bucket's an up-to-date copy in the cache:
        MissingInput when there is nothing to copy or a folder is only half written.
        """

    @abstractmethod
    def draft(self, path: str) -> Path:
        """A file of this machine to write an object's content into, which `adopt` then stores; its folder exists."""

    @abstractmethod
    def adopt(self, path: str) -> None:
        """Make the draft of `path` the object, and end the draft; errors as `write`."""

    @abstractmethod
    def new_folder(self, path: str, *, keep_old: bool = False) -> AbstractContextManager[Path]:
        """Give an empty folder of this machine whose files are stored under `path` when the block succeeds.

        Readers meet a complete folder or none. What was there before goes, unless it is to be kept beside the new.
        """

    @abstractmethod
    def require_space(self, size_bytes: int) -> None:
        """NoSpace, with both numbers, when fewer bytes than these are known to be free."""

    def require_writable(self) -> None:
        """StorageUnwritable, NoSpace or StorageForbidden when an object cannot be written here."""
        self.write(".write-check", b"may this user write here?")
        self.delete(".write-check")


def _mode(create_only: bool) -> Literal["create", "overwrite"]:
    return "create" if create_only else "overwrite"
