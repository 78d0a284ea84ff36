"""Where a job keeps everything it makes."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from llava_contract import rules
from llava_contract.schema import Name, Schema

__all__ = ["StorageSpec"]


class StorageSpec(Schema):
    """The storage prefix of a job: prepared data, checkpoints, models and reports live under it."""

    RULES: ClassVar = (rules.S3_SETTINGS,)

    uri: Annotated[
        str, Field(min_length=1, max_length=1024, pattern=r"^((s3|pvc)://\S+|file:///.+|[^:\s]|[^:\s][^:]*[^:\s])$")
    ]
    """Prefix under which the job writes: s3://bucket/prefix, pvc://claim/path or file:///path (in the container)."""
    endpoint: Annotated[str, Field(min_length=8, max_length=512, pattern=r"^https?://\S+$")] | None = None
    """URL of an S3-compatible server; leave out for AWS."""
    region: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Region of the bucket."""
    path_style: bool = False
    """Put the bucket into the path instead of the host name, as most S3-compatible servers want."""
    credentials_secret_name: Name | None = None
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; only the training pods mount it."""
