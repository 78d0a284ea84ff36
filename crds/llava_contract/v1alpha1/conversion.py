"""What a trained model is exported as."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from llava_contract.schema import LIST_SET, UNIQUE, Schema

__all__ = ["ConvertSpec", "ExportDtype", "ExportFormat"]


class ExportFormat(StrEnum):
    """A folder layout that other programs load."""

    HUGGINGFACE = "huggingface"


class ExportDtype(StrEnum):
    """Number format of exported weights."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class ConvertSpec(Schema):
    """The export of the finetuned model."""

    formats: Annotated[list[ExportFormat], UNIQUE] = Field(
        default=[ExportFormat.HUGGINGFACE], min_length=1, max_length=3, json_schema_extra=LIST_SET
    )
    """huggingface: LlavaForConditionalGeneration, adapters merged, ready for transformers, vLLM and SGLang."""
    dtype: ExportDtype = ExportDtype.BF16
    """Number format of the exported weights."""
