"""Where the numbers of a training go beside the job's own storage."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from llava_contract.schema import Schema

__all__ = ["MlflowSpec", "TrackingSpec", "WandbMode", "WandbSpec"]


class WandbMode(StrEnum):
    """Whether Weights & Biases is reached while the job trains."""

    ONLINE = "online"
    OFFLINE = "offline"


class WandbSpec(Schema):
    """A run on Weights & Biases for each training stage."""

    project: Annotated[str, Field(min_length=1, max_length=128)]
    """Project that the runs belong to."""
    entity: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """User or team; that of the API key when nothing says otherwise."""
    mode: WandbMode = WandbMode.ONLINE
    """online: WANDB_API_KEY has to be in the environment (podTemplate.env, from a Secret). offline: the run lies below
    logs/wandb in storage, for `wandb sync`."""


class MlflowSpec(Schema):
    """A run on MLflow for each training stage."""

    tracking_uri: Annotated[str, Field(min_length=1, max_length=1024)]
    """Tracking server, such as http://mlflow:5000; credentials come from the environment, as MLflow names them."""
    experiment: Annotated[str, Field(min_length=1, max_length=256)]
    """Experiment that the runs belong to; made when it is not there."""


class TrackingSpec(Schema):
    """Trackers beside TensorBoard, whose event files are always written below logs/tensorboard in storage."""

    wandb: WandbSpec | None = None
    """Weights & Biases."""
    mlflow: MlflowSpec | None = None
    """MLflow."""
