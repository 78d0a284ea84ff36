"""What a model is scored on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llava_contract.schema import Schema, Uri, list_map, unique_by

__all__ = ["BenchmarkSource", "EvaluateSpec"]


class BenchmarkSource(Schema):
    """One benchmark file in MMBench's TSV format."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]*$")]
    """Name under which the scores appear."""
    uri: Uri
    """The TSV file."""


class EvaluateSpec(Schema):
    """Greedy answers to multiple-choice questions, scored under XTuner's and VLMEvalKit's rules."""

    benchmarks: Annotated[
        list[BenchmarkSource], Field(min_length=1, max_length=32, json_schema_extra=list_map("name")), unique_by("name")
    ]
    """The files to answer."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    """Questions answered together; it never changes an answer."""
    max_new_tokens: Annotated[int, Field(ge=1, le=2048)] = 100
    """Longest answer in tokens."""
    minimum_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Fail the job when the circular accuracy of the first benchmark (VLMEvalKit's rule) is below this."""
