"""What a spec's places mean on this machine: plain paths start at the YAML file's folder, and --dir is the storage."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

from llava_contract.run import CACHE_DIR_ENV
from llava_contract.v1alpha1 import JobSpec
from llava_operator.errors import Unsupported

__all__ = ["job_folder", "local_path", "localised"]

Spec = TypeVar("Spec", bound=JobSpec)
_LOCATIONS = ("uri", "annotations", "images", "root", "pretrainedProjector", "dataRoot")


def localised(spec: Spec, *, base: Path, folder: Path | None) -> Spec:
    """Make every relative path of the spec absolute, and put `folder` in the place of its storage."""
    content = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if folder is not None:
        content["storage"] = {"uri": folder.resolve().as_uri()}
    return cast(Spec, type(spec).model_validate(_absolute(content, base.resolve())))


def job_folder(uri: str) -> Path:
    """Where this machine keeps what it knows of a job: its storage, or for s3:// a folder of the cache.

    Unsupported for what only a cluster can mount.
    """
    if not uri.startswith("s3://"):
        return local_path(uri)
    cache = os.environ.get(CACHE_DIR_ENV) or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "llava")
    return Path(cache).expanduser() / "jobs" / hashlib.sha256(uri.rstrip("/").encode()).hexdigest()[:16]


def local_path(uri: str) -> Path:
    """Turn file:///path or a plain path into a path; Unsupported for what only a cluster can mount."""
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file"):
        raise Unsupported(f"{uri} is not a folder of this machine: give --dir DIR to keep the job there.")
    return Path(unquote(parts.path)) if parts.scheme else Path(uri)


def _absolute(content: Any, base: Path) -> Any:
    """Walk a spec's content; a location is a string under one of the names that the contract uses for locations."""
    if isinstance(content, list):
        return [_absolute(item, base) for item in content]
    if not isinstance(content, dict):
        return content
    return {key: _located(key, value, base) for key, value in content.items()}


def _located(key: str, value: Any, base: Path) -> Any:
    if key in _LOCATIONS and isinstance(value, list):
        return [_located(key, item, base) for item in value]
    is_relative = key in _LOCATIONS and isinstance(value, str) and "://" not in value and not Path(value).is_absolute()
    return (base / value).resolve().as_uri() if is_relative else _absolute(value, base)
