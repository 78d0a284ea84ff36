"""Which rows a stage trains on and what happens to bad ones."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from llava_contract import data_rules
from llava_contract.schema import Schema, Uri

__all__ = ["DataSource", "Layout", "OnBadRow", "PrepareSpec"]


class OnBadRow(StrEnum):
    """What a bad row does to the job."""

    FAIL = "fail"
    QUARANTINE = "quarantine"


class Layout(StrEnum):
    """A tree of published data, as its archives unpack."""

    LLAVA = "llava-v1.5"
    SHAREGPT4V = "sharegpt4v"


class DataSource(Schema):
    """One file of LLaVA-format rows with the folder that its image paths start from, or a published tree."""

    RULES: ClassVar = (data_rules.ROWS_OR_LAYOUT, data_rules.LAYOUT_NEEDS_ROOT, data_rules.LAYOUT_FINDS_IMAGES)

    annotations: Uri | None = None
    """JSON array or JSONL of rows with `conversations` and, for image rows, `image`."""
    images: Uri | None = None
    """Folder that the rows' image paths are relative to; leave out for text-only data."""
    layout: Layout | None = None
    """In the place of annotations and images: the stage's rows and images as published, found below `root`.
    llava-v1.5: LLaVA-Pretrain for pretrain, mix665k for finetune; sharegpt4v: ShareGPT4V's captions, and its mix."""
    root: Uri | None = None
    """With layout: the folder that holds LLaVA-Pretrain, LLaVA-Instruct-150K and llava_images, or sharegpt4v."""
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """How often the rows count: 2 repeats each row twice, 0.5 takes every second one."""


class PrepareSpec(Schema):
    """The data audit that runs before any GPU is asked for."""

    on_bad_row: OnBadRow = OnBadRow.FAIL
    """fail: stop and name every bad row; quarantine: leave bad rows out and list them in the report."""
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    """With quarantine, fail all the same when more than this share of the rows is bad."""
