"""Every type of condition that a job's status may hold, and every reason of ours: the words that programs wait for.

A reason that is not listed here is a cause (causes.py) or the cluster's own word for what the pods wait for.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from llava_contract.run import Stage

__all__ = ["REASONS", "STAGE_CONDITIONS", "TYPES", "ConditionType", "Reason"]


class ConditionType(StrEnum):
    """What a condition is about."""

    READY = "Ready"
    PREPARED = "Prepared"
    PRETRAINED = "Pretrained"
    FINETUNED = "Finetuned"
    CONVERTED = "Converted"
    EVALUATED = "Evaluated"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    RESTARTING = "Restarting"


class Reason(StrEnum):
    """Why a condition has its status."""

    NOT_STARTED = "NotStarted"
    WAITING = "Waiting"
    STARTING = "Starting"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    ATTEMPT_STARTED = "AttemptStarted"
    STAGE_SUCCEEDED = "StageSucceeded"
    STAGE_FAILED = "StageFailed"
    NOT_REACHED = "NotReached"
    SUCCEEDED = "Succeeded"
    GOES_ON = "GoesOn"
    SPEC_REFUSED = "SpecRefused"
    SPEC_INCOMPLETE = "SpecIncomplete"
    REFUSED = "Refused"
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_NOT_READY = "ModelNotReady"
    MODEL_NOT_EXPORTED = "ModelNotExported"
    MODEL_FAILED = "ModelFailed"


STAGE_CONDITIONS: Final = MappingProxyType(
    {
        Stage.PREPARE.value: ConditionType.PREPARED,
        Stage.PRETRAIN.value: ConditionType.PRETRAINED,
        Stage.FINETUNE.value: ConditionType.FINETUNED,
        Stage.CONVERT.value: ConditionType.CONVERTED,
        Stage.EVALUATE.value: ConditionType.EVALUATED,
    }
)
"""The condition that is True once a stage is done."""

_FROM_THE_FIRST_TIME: Final = "From the first time that it holds."
_WITH_THE_STAGE: Final = "In jobs that have the stage."

TYPES: Final = MappingProxyType(
    {
        ConditionType.READY: (
            "Always.",
            "True: every stage is done. False: reason and message say what the job does or lacks right now.",
        ),
        **{
            type_: (_WITH_THE_STAGE, f"True: {stage} is done. False: the reason says where it stands.")
            for stage, type_ in STAGE_CONDITIONS.items()
        },
        ConditionType.FAILED: (
            "From the first time that it holds, or that a spec is refused while an attempt runs.",
            "True: the job has given up; the reason is the cause.",
        ),
        ConditionType.SUSPENDED: (_FROM_THE_FIRST_TIME, "True: runPolicy.suspend stopped the job; checkpoints stay."),
        ConditionType.RESTARTING: (
            _FROM_THE_FIRST_TIME,
            "True: an attempt failed and the next has not been started; the reason is the cause of the failure.",
        ),
    }
)
"""Each type: when it is there, and what it says."""

REASONS: Final = MappingProxyType(
    {
        Reason.NOT_STARTED: "Nothing of the job has been started.",
        Reason.WAITING: "The stage waits for those before it.",
        Reason.STARTING: "The pods of the attempt are being made.",
        Reason.RUNNING: "All pods of the attempt run.",
        Reason.RESTARTING: "An attempt at the stage failed and another follows.",
        Reason.SUSPENDED: "runPolicy.suspend is true.",
        Reason.RESUMED: "runPolicy.suspend is false again.",
        Reason.ATTEMPT_STARTED: "The next attempt has been started.",
        Reason.STAGE_SUCCEEDED: "The stage is done.",
        Reason.STAGE_FAILED: "The stage's last attempt failed, and the job with it.",
        Reason.NOT_REACHED: "The job failed before this stage.",
        Reason.SUCCEEDED: "Every stage is done.",
        Reason.GOES_ON: "What made the job fail is mended.",
        Reason.SPEC_REFUSED: "The API server took the spec, and its recipe or a rule does not; mend the spec.",
        Reason.SPEC_INCOMPLETE: "The spec lacks what a cluster needs; mend the spec.",
        Reason.REFUSED: "The API server does not let the operator make the job's objects; it is tried again.",
        Reason.MODEL_NOT_FOUND: "No LlavaTrainJob of that name is in the namespace; this job waits for one.",
        Reason.MODEL_NOT_READY: "The LlavaTrainJob has not exported its model yet; this job waits for it.",
        Reason.MODEL_NOT_EXPORTED: "The LlavaTrainJob has no stage convert, so it never exports a model; add it there.",
        Reason.MODEL_FAILED: "The LlavaTrainJob failed before it exported a model; this job waits for another.",
    }
)
"""Each reason of ours in one sentence."""
