"""Which rows a stage trains on and what happens to bad ones."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from llava_contract.schema import Schema, Uri

__all__ = ["DataSource", "OnBadRow", "PrepareSpec"]


class OnBadRow(StrEnum):
    """What a bad row does to the job."""

    FAIL = "fail"
    QUARANTINE = "quarantine"


class DataSource(Schema):
    """One file of LLaVA-format rows with the folder that its image paths start from."""

    annotations: Uri
    """JSON array or JSONL of rows with `conversations` and, for image rows, `image`."""
    images: Uri | None = None
    """Folder that the rows' image paths are relative to; leave out for text-only data."""
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """How often the rows count: 2 repeats each row twice, 0.5 takes every second one."""


class PrepareSpec(Schema):
    """The data audit that runs before any GPU is asked for."""

    on_bad_row: OnBadRow = OnBadRow.FAIL
    """fail: stop and name every bad row; quarantine: leave bad rows out and list them in the report."""
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    """With quarantine, fail all the same when more than this share of the rows is bad."""
