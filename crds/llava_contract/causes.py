"""Every way a process of ours can end: exit code, name, whether a restart can help, and the sentence a user reads.

Both sides read this one table: the trainer exits with a code, the operator turns the code back into a cause.
Codes 10 to 19 are the user's to mend: a restart cannot help and none is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["CAUSES", "Cause", "Retry", "by_exit_code"]


class Retry(StrEnum):
    """What a restart can do about a cause."""

    NEVER = "never"  # the input must change first
    COUNTED = "counted"  # restart, charged to spec.runPolicy.maxRestarts
    FREE = "free"  # restart, not charged: nobody's fault
    CONFIRM = "confirm"  # one restart to rule out chance, then Failed
    ROLLBACK = "rollback"  # restart one checkpoint earlier, at most twice


@dataclass(frozen=True)
class Cause:
    """One row of the table; `reason` is the CamelCase word that conditions and events carry."""

    exit_code: int
    reason: str
    retry: Retry
    advice: str


SUCCEEDED: Final = Cause(0, "Succeeded", Retry.NEVER, "Nothing to do.")
UNEXPECTED: Final = Cause(1, "UnexpectedError", Retry.COUNTED, "A bug of ours or of a library; the log has the trace.")
USAGE: Final = Cause(2, "Usage", Retry.NEVER, "Read the command's --help.")
INVALID_SPEC: Final = Cause(10, "InvalidSpec", Retry.NEVER, "Correct the field that the message names.")
WRONG_TEMPLATE: Final = Cause(
    11, "WrongTemplate", Retry.NEVER, "Set spec.model.promptTemplate to one that fits the LLM."
)
BAD_DATA: Final = Cause(
    12, "BadData", Retry.NEVER, "Mend the rows that the message names, or set prepare.onBadRow: quarantine."
)
MISSING_INPUT: Final = Cause(13, "MissingInput", Retry.NEVER, "Correct the path or URI that the message names.")
FORBIDDEN: Final = Cause(
    14, "StorageForbidden", Retry.NEVER, "Give the credentials access to the URI that the message names."
)
UNWRITABLE: Final = Cause(
    15, "StorageUnwritable", Retry.NEVER, "Choose a storage location that this user may write to."
)
NO_SPACE: Final = Cause(16, "NoSpace", Retry.NEVER, "Free space at the storage location or choose a larger one.")
WEIGHTS_MISMATCH: Final = Cause(
    17, "WeightsMismatch", Retry.NEVER, "Use the weights that belong to this model; the message names the keys."
)
UNSUPPORTED: Final = Cause(18, "Unsupported", Retry.NEVER, "Choose a supported combination; the message names one.")
CORRUPT_STATE: Final = Cause(
    19, "CorruptState", Retry.NEVER, "No checkpoint verifies; restore the storage prefix or start a new job."
)
HANG: Final = Cause(74, "Hang", Retry.COUNTED, "A rank made no progress; its stacks are in the log.")
INFRASTRUCTURE: Final = Cause(
    75, "Infrastructure", Retry.COUNTED, "Network, storage or device failed; a restart usually helps."
)
OUT_OF_MEMORY: Final = Cause(
    76, "OutOfMemory", Retry.CONFIRM, "Lower batchSize, raise zeroStage, or use GPUs with more memory."
)
DIVERGED: Final = Cause(
    77, "Diverged", Retry.ROLLBACK, "Lower the learning rate; the message lists the rows of the batch."
)
DEADLINE: Final = Cause(
    78, "DeadlineExceeded", Retry.NEVER, "Raise runPolicy.activeDeadlineSeconds; checkpoints are kept."
)
BELOW_MINIMUM: Final = Cause(
    79, "BelowMinimumAccuracy", Retry.NEVER, "The model is kept; train longer or lower evaluate.minimumAccuracy."
)
INTERRUPTED: Final = Cause(
    130, "Interrupted", Retry.NEVER, "Run the same command again: it goes on from the last checkpoint."
)
KILLED: Final = Cause(
    137, "Killed", Retry.COUNTED, "The process was killed (SIGKILL); often the machine ran out of memory."
)
TERMINATED: Final = Cause(
    143, "Terminated", Retry.FREE, "The process was asked to leave (SIGTERM), as in a drain or preemption."
)
INCOMPLETE: Final = Cause(
    -2, "GangIncomplete", Retry.FREE, "Make room for all pods of the gang at once, or ask for fewer workers."
)
EDITED: Final = Cause(-3, "SpecEdited", Retry.FREE, "Nothing to do: the next attempt follows the new spec.")
LOST: Final = Cause(-1, "Lost", Retry.COUNTED, "The process vanished and left no evidence.")

CAUSES: Final = (
    SUCCEEDED, UNEXPECTED, USAGE, INVALID_SPEC, WRONG_TEMPLATE, BAD_DATA, MISSING_INPUT, FORBIDDEN, UNWRITABLE,
    NO_SPACE, WEIGHTS_MISMATCH, UNSUPPORTED, CORRUPT_STATE, HANG, INFRASTRUCTURE, OUT_OF_MEMORY, DIVERGED,
    DEADLINE, BELOW_MINIMUM, INTERRUPTED, KILLED, TERMINATED, LOST, INCOMPLETE, EDITED,
)  # fmt: skip

_BY_EXIT_CODE: Final = MappingProxyType({cause.exit_code: cause for cause in CAUSES})


def by_exit_code(code: int) -> Cause:
    """Name the cause behind an exit code; a code that nobody gave means an unexpected error."""
    return _BY_EXIT_CODE.get(code, UNEXPECTED)
