"""What the status keeps readable and small."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from pydantic import ValidationError

from llava_contract.v1alpha1.status import MAX_HISTORY, JobStatus, ProgressStatus, StageStatus

FAILED = {"exitCode": 75, "reason": "Infrastructure"}


def progress(**changes: Any) -> ProgressStatus:
    return ProgressStatus.model_validate({"summary": "1/2", "step": 1, "totalSteps": 2, **changes})


@pytest.mark.parametrize(("loss", "shown"), [(0.83123456, 0.8312), (2.0, 2.0), (nan, None), (inf, None), (None, None)])
def test_a_loss_prints_nicely_or_not_at_all(loss: float | None, shown: float | None) -> None:
    assert progress(loss=loss).loss == shown


def test_old_attempts_are_forgotten() -> None:
    history = [{"attempt": number, **FAILED} for number in range(1, MAX_HISTORY + 11)]
    stage = StageStatus.model_validate({"name": "pretrain", "history": history})
    assert (len(stage.history), stage.history[0].attempt) == (MAX_HISTORY, 11)


def test_a_stage_is_listed_once() -> None:
    with pytest.raises(ValidationError, match="Duplicate value"):
        JobStatus.model_validate({"stages": [{"name": "pretrain"}, {"name": "pretrain"}]})
