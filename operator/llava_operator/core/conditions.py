"""What a job's conditions say: their truth follows from the status, and words are kept until the truth or they change.

The rules of metav1 conditions hold: one a type, and the transition time moves only when the status does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never

from llava_contract.conditions import STAGE_CONDITIONS, ConditionType, Reason
from llava_contract.v1alpha1.status import Condition, ConditionStatus, JobStatus, Phase, StageState, StageStatus

__all__ = ["Word", "conditions_of", "find_condition"]


@dataclass(frozen=True)
class Word:
    """The reason and message that a condition shall have; whether it holds is not for a word to say."""

    type: ConditionType
    reason: str
    message: str


_ONCE_TRUE: Final = (ConditionType.FAILED, ConditionType.SUSPENDED, ConditionType.RESTARTING)
"""What need not be denied before it has ever held, or somebody has spoken of it."""


def find_condition(conditions: list[Condition], type_: ConditionType) -> Condition | None:
    """Find the condition of that type."""
    return next((condition for condition in conditions if condition.type == type_), None)


def conditions_of(status: JobStatus, words: Iterable[Word], *, generation: int, now: datetime) -> list[Condition]:
    """Say all that holds of a job as its phase and stages are; of a type without new words the old ones stay."""
    told = {word.type: word for word in (*_stage_words(status), *words)}
    before = {condition.type: condition for condition in status.conditions}
    holding = _truths(status)
    return [
        _condition(
            told.get(type_),
            before.get(type_),
            untold=_untold(type_, status.phase),
            is_true=is_true,
            observed=(generation, now),
        )
        for type_, is_true in holding.items()
        if is_true or type_ in before or type_ in told or type_ not in _ONCE_TRUE
    ]


def _truths(status: JobStatus) -> dict[ConditionType, bool]:
    """Say of each type whether it holds, in the order in which people read them."""
    stages = [stage for stage in status.stages if stage.name in STAGE_CONDITIONS]
    return {
        ConditionType.READY: status.phase is Phase.SUCCEEDED,
        **{STAGE_CONDITIONS[stage.name]: stage.state is StageState.SUCCEEDED for stage in stages},
        ConditionType.FAILED: status.phase is Phase.FAILED,
        ConditionType.SUSPENDED: status.phase is Phase.SUSPENDED,
        ConditionType.RESTARTING: any(stage.state is StageState.RESTARTING for stage in stages),
    }


def _condition(
    word: Word | None, before: Condition | None, *, untold: Word, is_true: bool, observed: tuple[int, datetime]
) -> Condition:
    status = ConditionStatus.TRUE if is_true else ConditionStatus.FALSE
    is_same = before is not None and before.status is status
    said = word or (before if before is not None and is_same else untold)
    return Condition(
        type=untold.type,
        status=status,
        observed_generation=observed[0],
        last_transition_time=before.last_transition_time if before is not None and is_same else observed[1],
        reason=said.reason,
        message=said.message,
    )


def _untold(type_: ConditionType, phase: Phase) -> Word:
    """Say why a condition changed when nobody found words for it."""
    if type_ is ConditionType.READY:
        return Word(type_, Reason.NOT_STARTED, "nothing has been started")
    if phase is Phase.FAILED:
        return Word(type_, Reason.STAGE_FAILED, "the job failed")
    if phase is Phase.SUSPENDED:
        return Word(type_, Reason.SUSPENDED, "the job is suspended")
    if type_ is ConditionType.RESTARTING:
        return Word(type_, Reason.ATTEMPT_STARTED, "the next attempt was started")
    is_resumed = type_ is ConditionType.SUSPENDED
    return Word(type_, Reason.RESUMED if is_resumed else Reason.GOES_ON, "the job goes on")


def _stage_words(status: JobStatus) -> Iterator[Word]:
    undone = next((stage for stage in status.stages if stage.state is not StageState.SUCCEEDED), None)
    for stage in status.stages:
        if stage.name in STAGE_CONDITIONS:
            reason, message = _of_stage(stage, status.phase, undone=undone)
            yield Word(STAGE_CONDITIONS[stage.name], reason, message)


def _of_stage(stage: StageStatus, phase: Phase, *, undone: StageStatus | None) -> tuple[Reason, str]:
    """Say where a stage stands; the long sentences are in the stage itself and in Ready."""
    match stage.state:
        case StageState.WAITING:
            return _of_waiting(phase, undone if undone is not stage else None)
        case StageState.STARTING:
            return Reason.STARTING, f"attempt {stage.attempt} is starting"
        case StageState.RUNNING:
            return Reason.RUNNING, f"attempt {stage.attempt} is running"
        case StageState.RESTARTING:
            return Reason.RESTARTING, f"attempt {stage.attempt} failed and another follows"
        case StageState.SUCCEEDED:
            return Reason.STAGE_SUCCEEDED, f"{stage.name} is done"
        case StageState.FAILED:
            return Reason.STAGE_FAILED, f"attempt {stage.attempt} was the last"
        case _:
            assert_never(stage.state)


def _of_waiting(phase: Phase, first: StageStatus | None) -> tuple[Reason, str]:
    """Say what a stage waits for: `first` has to be done before it, or none has."""
    if phase is Phase.FAILED:
        return Reason.NOT_REACHED, "the job failed before this stage began"
    if first is not None:
        return Reason.WAITING, f"waits for {first.name}"
    return (Reason.SUSPENDED, "the job is suspended") if phase is Phase.SUSPENDED else (Reason.WAITING, "it is next")
