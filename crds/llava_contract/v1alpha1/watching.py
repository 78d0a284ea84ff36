"""What is watched while a stage trains, beside its loss."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llava_contract.schema import LIST_SET, UNIQUE, Schema, Uri, filled_by_recipe

__all__ = ["SamplesSpec", "ValidationSpec"]


class ValidationSpec(Schema):
    """Rows that are never trained on, and what their loss decides."""

    fraction: Annotated[float, Field(gt=0, le=0.5)]
    """Share of the rows that is held out; rows about the same image stay on the same side."""
    every_steps: Annotated[int, Field(ge=1, le=1_000_000)]
    """Measure their loss after so many optimizer steps, and after the last one. The checkpoint with the lowest is kept
    and is what the stage hands on."""
    patience: Annotated[int, Field(ge=1, le=1000)] | None = None
    """End the stage after so many measurements in a row without a lower loss; left out, it trains to its end."""


class SamplesSpec(Schema):
    """Greedy answers to fixed prompts on fixed images while a stage trains, in the log and in the report."""

    prompts: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=4096)]], UNIQUE, Field(min_length=1, max_length=16)
    ] = filled_by_recipe(["请描述一下这张照片", "Please describe this picture"], **LIST_SET)
    """Each is asked about each image, as a first turn under the job's template; a recipe fills them, and when nothing
    says otherwise they are XTuner's two, which ask for a description."""
    images: Annotated[list[Uri], UNIQUE, Field(max_length=16)] = Field(default=[], json_schema_extra=LIST_SET)
    """Image files; left out, the first image of the stage's rows, a held-out one if there are any."""
    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] = filled_by_recipe(500)
    """Ask after so many optimizer steps; a recipe fills it, 500 when nothing says otherwise. Asked as well before the
    first step, at the steps of checkpoint.everySteps, and after the last one."""
    max_new_tokens: Annotated[int, Field(ge=1, le=2048)] = 100
    """Longest answer in tokens."""
