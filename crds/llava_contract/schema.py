"""How every model of the contract behaves: camelCase on the wire, unknown fields refused, values frozen."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

__all__ = ["Name", "Schema", "Uri"]


class Schema(BaseModel):
    """Base of all resources, run configurations and results."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )


Uri = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^((hf|s3|pvc|file)://\S+|[^:\s]+)$")]
"""A location: hf://org/name, s3://bucket/key, pvc://claim/path, file:///path, or a plain path."""

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A DNS-1123 label."""
