"""How what the user named becomes a path on this machine, and how it is told whether it changed without reading it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final, assert_never

from llava_contract.run import StorageTarget
from llava_trainer.errors import MissingInput, StorageForbidden, Unsupported
from llava_trainer.storage.answers import Access, translated
from llava_trainer.storage.location import Scheme, parse_location

__all__ = ["materialise", "source_digest"]

_WANTED: Final = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
"""Of a hub repository; pickled weights are never fetched."""


def materialise(uri: str, server: StorageTarget | None = None) -> Path:
    """Make a file or folder available on this machine and say where.

    A path and file:// must exist (MissingInput); hf://org/name[@revision] is fetched into the hub's cache, or found
    there when offline; s3:// is copied below LLAVA_CACHE_DIR unless an equal copy is there, from the server of an
    s3:// storage (`server`) or the one that the environment names. Raises StorageForbidden where access is refused,
    Infrastructure for a server that does not answer, and Unsupported for pvc://.
    """
    location = parse_location(uri)
    match location.scheme:
        case Scheme.FILE:
            return _existing(location.path)
        case Scheme.HF:
            return _from_hub(uri, location.name)
        case Scheme.S3:
            from llava_trainer.storage.bucket import fetch_uri  # noqa: PLC0415  (boto3, for S3 users only)

            return fetch_uri(uri, server)
        case Scheme.PVC:
            raise Unsupported(f"{uri}: a claim exists only on a cluster; use a path or a file:// URI here.")
        case _:
            assert_never(location.scheme)


def _existing(path: Path) -> Path:
    with translated(Access.READ, str(path)):
        path.stat()
    return path


def _from_hub(uri: str, name: str) -> Path:
    from huggingface_hub import errors, snapshot_download  # noqa: PLC0415  (a second of import, for hub users only)

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(_WANTED)))
    except errors.GatedRepoError as error:
        raise StorageForbidden(f"{uri}: the repository is gated; ask for access and set HF_TOKEN.") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise MissingInput(f"{uri}: the hub has no such repository or revision; correct the URI.") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, OSError) as error:
        raise MissingInput(
            f"{uri}: not in the local cache, and the hub cannot be asked ({type(error).__name__}); "
            "go online once, or give a folder."
        ) from error


def source_digest(*paths: Path) -> str:
    """SHA-256 over name, size and modification time of files and of everything in folders: equal means unchanged.

    No content is read, so that 600,000 images take seconds. MissingInput when a path is not there.
    """
    whole = hashlib.sha256()
    for path in paths:
        with translated(Access.READ, str(path)):
            for name, size_bytes, changed_ns in _entries(path):
                whole.update(f"{name}\0{size_bytes}\0{changed_ns}\n".encode("utf-8", "surrogateescape"))
        whole.update(b"\n")
    return whole.hexdigest()


def _entries(path: Path) -> list[tuple[str, int, int]]:
    """(relative name, bytes, nanoseconds) of a file, or of each file below a folder in order of name."""
    if not path.is_dir():
        state = path.stat()
        return [(path.name, state.st_size, state.st_mtime_ns)]
    found = []
    for folder, _, names in os.walk(path, followlinks=True):
        for name in names:
            file = Path(folder, name)
            state = file.stat()
            found.append((str(file.relative_to(path)), state.st_size, state.st_mtime_ns))
    return sorted(found)
