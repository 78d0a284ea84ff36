"""How a folder of this machine keeps a job: writes are staged beside their name, then renamed or hard-linked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from obstore.store import LocalStore

from llava_trainer.errors import MissingInput, NoSpace
from llava_trainer.storage.answers import Access, translated
from llava_trainer.storage.location import parse_location
from llava_trainer.storage.store import Storage

__all__ = ["FolderStorage", "open_folder"]


def open_folder(folder: Path, *, must_exist: bool = False) -> FolderStorage:
    """Open a folder, making it unless it must be there already; MissingInput or StorageUnwritable."""
    if must_exist and not folder.is_dir():
        raise MissingInput(f"{folder}: there is no such folder; give the folder of a job.")
    with translated(Access.WRITE, str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        store = LocalStore(prefix=folder, automatic_cleanup=True)
    return FolderStorage(store, folder)


class FolderStorage(Storage):
    """Objects are files; what is read is the object itself."""

    def __init__(self, store: LocalStore, folder: Path) -> None:
        super().__init__(store, folder.as_uri())
        self._folder = folder

    def _inside(self, uri: str) -> str:
        return str(parse_location(uri).path.relative_to(self._folder))

    def place(self, path: str) -> str:
        """The path of the file."""
        return str(self._folder / self.key(path))

    def local_path(self, path_or_uri: str) -> Path:
        """The place itself; it need not exist, and a path of this machine may lie anywhere."""
        if "://" in path_or_uri or path_or_uri.startswith("/"):
            return parse_location(path_or_uri).path
        return self._folder / self.key(path_or_uri)

    def draft(self, path: str) -> Path:
        """A file beside the object's, on the same disk."""
        target = self.local_path(path)
        with translated(Access.WRITE, str(target.parent)):
            target.parent.mkdir(parents=True, exist_ok=True)
        return target.with_name(f"{target.name}.tmp")

    def adopt(self, path: str) -> None:
        """Rename the draft."""
        target = self.local_path(path)
        with translated(Access.WRITE, str(target)):
            target.with_name(f"{target.name}.tmp").replace(target)

    @contextmanager
    def new_folder(self, path: str, *, keep_old: bool = False) -> Iterator[Path]:
        """Fill a folder beside the place and rename it, or its entries when the old ones stay."""
        target = self.local_path(path)
        draft, old = target.with_name(f".{target.name}-draft"), target.with_name(f".{target.name}-old")
        try:
            for leftover in (draft, old):
                shutil.rmtree(leftover, ignore_errors=True)
            with translated(Access.WRITE, str(target)):
                draft.mkdir(parents=True)
            yield draft
            with translated(Access.WRITE, str(target)):
                _put_in_place(draft, target, old=None if keep_old else old)
        finally:
            for leftover in (draft, old):
                shutil.rmtree(leftover, ignore_errors=True)

    def require_space(self, size_bytes: int) -> None:
        """NoSpace, with both numbers, when the disk has fewer bytes free."""
        with translated(Access.READ, self.uri):
            free = shutil.disk_usage(self._folder).free
        if free < size_bytes:
            raise NoSpace(
                f"{self.uri}: {_gigabytes(size_bytes)} are needed and {_gigabytes(free)} are free; "
                "free space there or choose a larger location."
            )


def _put_in_place(draft: Path, target: Path, *, old: Path | None) -> None:
    if old is None:
        target.mkdir(exist_ok=True)
        for entry in draft.iterdir():
            entry.rename(target / entry.name)
        return
    if target.exists():
        target.rename(old)
    draft.rename(target)


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.3f} GB"
