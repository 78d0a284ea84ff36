"""The two custom resources of group llava.dev, version v1alpha1, as pydantic models."""

from llava_contract.v1alpha1.evaljob import LlavaEvalJob, LlavaEvalJobSpec
from llava_contract.v1alpha1.trainjob import LlavaTrainJob, LlavaTrainJobSpec

__all__ = ["LlavaEvalJob", "LlavaEvalJobSpec", "LlavaTrainJob", "LlavaTrainJobSpec"]
