"""How a URI is spelt and which of them name a place on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from llava_trainer.errors import InvalidSpec, Unsupported

__all__ = ["Location", "Scheme", "parse_location"]


class Scheme(StrEnum):
    """The kinds of places that the contract knows."""

    FILE = "file"
    S3 = "s3"
    PVC = "pvc"
    HF = "hf"


@dataclass(frozen=True, slots=True)
class Location:
    """A parsed URI: `name` is an absolute path for file, `org/name[@revision]` for hf, else all after the scheme."""

    scheme: Scheme
    name: str

    @property
    def path(self) -> Path:
        """The place on this machine; Unsupported when there is none."""
        if self.scheme is not Scheme.FILE:
            raise Unsupported(f"{self}: no path of this machine; use a path or a file:// URI.")
        return Path(self.name)

    def __str__(self) -> str:
        return Path(self.name).as_uri() if self.scheme is Scheme.FILE else f"{self.scheme}://{self.name}"


def parse_location(uri: str) -> Location:
    """Read a URI or a plain path, which starts from the working directory; InvalidSpec when it is neither."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Location(Scheme.FILE, str(Path(uri).expanduser().absolute()))
    if scheme not in set(Scheme):
        raise InvalidSpec(f"{uri}: {scheme}:// is not known here; use file://, s3://, hf:// or a path.")
    if scheme == Scheme.FILE:
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise InvalidSpec(f"{uri}: a file URI has three slashes and an absolute path, as in file:///data/job.")
        return Location(Scheme.FILE, str(Path(unquote(parts.path))))
    if not rest.strip("/"):
        raise InvalidSpec(f"{uri}: names no place; complete it.")
    return Location(Scheme(scheme), rest.rstrip("/"))
