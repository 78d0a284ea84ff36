"""Every exit code of the failure catalogue, through a real kubelet: unchanged, and answered as the table says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from llava_contract.causes import CAUSES, Cause, Retry
from support.eventually import eventually
from support.exit_watch import ExitWatch, exit_watch
from support.scripted_jobs import JobsOf, watched_jobs

pytestmark = pytest.mark.timeout(600)

TOLD = [cause for cause in CAUSES if cause.exit_code >= 0]
NEVER = [cause for cause in TOLD if cause.retry is Retry.NEVER and cause.exit_code]
AGAIN = [cause for cause in TOLD if cause.retry is not Retry.NEVER]
SENTENCE = "rows.json row 41207: the script says so"


def named(cause: Cause) -> str:
    return f"code-{cause.exit_code}"


@pytest.fixture(scope="module")
def codes(client: Any, shared_namespace: str) -> Iterator[ExitWatch]:
    with exit_watch(client, shared_namespace) as seen:
        yield seen


@pytest.fixture(scope="module")
def jobs(
    client: Any, shared_namespace: str, nodes: list[str], codes: ExitWatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JobsOf]:
    """One job a code, all at once; the first attempt at prepare ends with it."""
    assert nodes
    assert not codes.codes
    with watched_jobs(client, shared_namespace, tmp_path_factory.mktemp("operator")) as jobs:
        for cause in TOLD:
            jobs.create(named(cause), {"prepare": [{"exit": cause.exit_code, "message": SENTENCE}]})
        yield jobs


@pytest.mark.parametrize("cause", TOLD, ids=named)
def test_a_code_arrives_as_it_was_given(jobs: JobsOf, codes: ExitWatch, cause: Cause) -> None:
    eventually(lambda: codes.code_of(named(cause)) is not None, within_s=240)
    assert jobs.journal.of(named(cause), "end", stage="prepare")[0].said["code"] == cause.exit_code
    assert codes.code_of(named(cause)) == cause.exit_code


@pytest.mark.parametrize("cause", NEVER, ids=named)
def test_what_no_restart_can_mend_fails_at_once_with_its_reason(jobs: JobsOf, cause: Cause) -> None:
    status = jobs.ends(named(cause), "Failed")
    failed = jobs.condition(named(cause), "Failed")
    assert (failed["status"], failed["reason"], status["restarts"]) == ("True", cause.reason, 0)
    assert SENTENCE in failed["message"]
    assert jobs.journal.starts(named(cause)) == [("prepare", 1, 0)]


@pytest.mark.parametrize("cause", AGAIN, ids=named)
def test_what_a_restart_can_mend_is_restarted_and_charged_as_the_table_says(jobs: JobsOf, cause: Cause) -> None:
    status = jobs.ends(named(cause))
    (record,) = jobs.stage(named(cause), "prepare")["history"]
    assert (record["exitCode"], record["reason"], record["message"]) == (cause.exit_code, cause.reason, SENTENCE)
    assert (status["restarts"], status["budgetUsed"]) == (1, cause.retry is Retry.COUNTED)
    assert jobs.journal.starts(named(cause)) == [("finetune", 1, 0), ("prepare", 1, 0), ("prepare", 2, 0)]


def test_success_needs_no_second_attempt(jobs: JobsOf) -> None:
    assert jobs.ends("code-0")["restarts"] == 0
    assert jobs.journal.starts("code-0") == [("finetune", 1, 0), ("prepare", 1, 0)]
