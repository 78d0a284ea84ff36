"""What MANIFEST.json says of a checkpoint; it is written last, and without it there is no checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from llava_contract.schema import Schema
from llava_trainer.errors import CorruptState

__all__ = ["Manifest", "StoredFile", "digest"]


class StoredFile(Schema):
    """One file of a checkpoint; `name` is relative to its folder."""

    name: str
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(Schema):
    """Everything needed to check a checkpoint and to go on from it.

    The random state is `seed` and `step`: every step seeds the generators of each rank from these two and its rank.
    """

    version: Literal["v1alpha1"] = "v1alpha1"
    job_uid: str
    stage: str
    attempt: int
    step: int
    total_steps: int
    epoch: int
    """Data cursor: the epoch of the next step."""
    epoch_step: int
    """Data cursor: the next step within that epoch."""
    global_batch: int
    """Samples per optimizer step; the cursor means other samples under another one."""
    world_size: int
    seed: int
    parameters: Mapping[str, tuple[int, ...]]
    """Full name of every trainable parameter, and its shape."""
    files: tuple[StoredFile, ...]
    time: datetime

    @classmethod
    def parse(cls, data: bytes, *, place: str) -> Manifest:
        """Read a manifest; CorruptState when it is not one."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise CorruptState(f"{place}: not a manifest ({first['msg']}); delete this checkpoint.") from error

    def to_bytes(self) -> bytes:
        """The file's content."""
        return self.model_dump_json(indent=1).encode()


def digest(data: bytes) -> str:
    """SHA-256 as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
