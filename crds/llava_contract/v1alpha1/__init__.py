"""The two custom resources of group llava.dev, version v1alpha1, as pydantic models."""

from typing import Annotated

from pydantic import Field

from llava_contract.v1alpha1.evaljob import LlavaEvalJob, LlavaEvalJobSpec
from llava_contract.v1alpha1.trainjob import LlavaTrainJob, LlavaTrainJobSpec

Job = Annotated[LlavaTrainJob | LlavaEvalJob, Field(discriminator="kind")]
JobSpec = LlavaTrainJobSpec | LlavaEvalJobSpec

__all__ = ["Job", "JobSpec", "LlavaEvalJob", "LlavaEvalJobSpec", "LlavaTrainJob", "LlavaTrainJobSpec"]
