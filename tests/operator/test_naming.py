"""Child names come from identity and always fit."""

from __future__ import annotations

import hashlib
import re

import pytest

from llava_contract.run import Stage
from llava_operator.core.naming import MAX_CHILD_NAME, child_name


def test_name_holds_job_identity_stage_and_attempt() -> None:
    identity = hashlib.sha256(b"uid-1").hexdigest()[:8]
    assert child_name("demo", "uid-1", stage=Stage.FINETUNE, attempt=2) == f"demo-{identity}-finetune-2"


@pytest.mark.parametrize("attempt", [1, 10, 1000])
@pytest.mark.parametrize("name", ["a", "a" * 30, "a" * 28 + "-b", "x-" * 15 + "y"])
def test_every_name_fits_and_is_a_dns_label(name: str, attempt: int) -> None:
    child = child_name(name, "uid", stage=Stage.PRETRAIN, attempt=attempt)
    assert len(child) <= MAX_CHILD_NAME
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", child)


def test_recreated_jobs_share_no_name() -> None:
    first, second = (child_name("demo", uid, stage=Stage.PREPARE, attempt=1) for uid in ("u1", "u2"))
    assert first != second
