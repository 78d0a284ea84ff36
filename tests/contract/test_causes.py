"""The failure table that both sides read."""

from __future__ import annotations

import pytest

from llava_contract.causes import CAUSES, UNEXPECTED, Cause, Retry, by_exit_code

BY_REASON = {cause.reason: cause for cause in CAUSES}


def test_codes_and_reasons_are_unique() -> None:
    assert len({cause.exit_code for cause in CAUSES}) == len(BY_REASON) == len(CAUSES)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.reason)
def test_a_code_leads_back_to_its_cause(cause: Cause) -> None:
    assert by_exit_code(cause.exit_code) is cause


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.reason)
def test_advice_is_a_sentence_and_a_reason_one_word(cause: Cause) -> None:
    assert cause.advice.endswith(".")
    assert cause.reason.isalnum()
    assert cause.reason[0].isupper()


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.reason)
def test_a_users_mistake_is_never_retried(cause: Cause) -> None:
    assert not 10 <= cause.exit_code <= 19 or cause.retry is Retry.NEVER


@pytest.mark.parametrize(
    ("code", "reason", "retry"),
    [
        (0, "Succeeded", Retry.NEVER),
        (2, "Usage", Retry.NEVER),
        (12, "BadData", Retry.NEVER),
        (74, "Hang", Retry.COUNTED),
        (75, "Infrastructure", Retry.COUNTED),
        (76, "OutOfMemory", Retry.CONFIRM),
        (77, "Diverged", Retry.ROLLBACK),
        (130, "Interrupted", Retry.NEVER),
        (137, "Killed", Retry.COUNTED),
        (143, "Terminated", Retry.FREE),
    ],
)
def test_codes_that_others_rely_on(code: int, reason: str, retry: Retry) -> None:
    assert (by_exit_code(code).reason, by_exit_code(code).retry) == (reason, retry)


@pytest.mark.parametrize("code", [3, 9, 20, 73, 139, 255])
def test_a_code_that_nobody_gave_is_unexpected(code: int) -> None:
    assert by_exit_code(code) is UNEXPECTED
