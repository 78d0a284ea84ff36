"""Among failures of a gang the earliest that no other caused is to blame."""

from __future__ import annotations

import pytest

from llava_trainer.launch import Failure, Gang, blame


def failed(rank: int, code: int, time: float, *, caused: bool = False) -> Failure:
    return Failure(rank, code, time, caused)


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ([failed(0, 77, 2.0), failed(1, 12, 1.0)], 12),
        ([failed(0, 75, 1.0, caused=True), failed(1, 137, 2.0)], 137),
        ([failed(0, 75, 1.0, caused=True), failed(1, 143, 2.0, caused=True)], 75),
        ([failed(1, 77, 1.0), failed(0, 12, 1.0)], 12),
    ],
)
def test_blame(failures: list[Failure], code: int) -> None:
    assert blame(failures).code == code


@pytest.mark.parametrize(
    ("env", "gang"),
    [
        ({}, Gang(1, 8, 0, "")),
        ({"PET_NNODES": "1", "PET_NPROC_PER_NODE": "8"}, Gang(1, 8, 0, "")),
        ({"PET_NPROC_PER_NODE": "auto"}, Gang(1, 8, 0, "")),
        (
            {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "4", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "job-worker-0"},
            Gang(2, 4, 1, "job-worker-0:23456"),
        ),
    ],
    ids=str,
)
def test_the_gang_is_read_from_the_environment(env: dict[str, str], gang: Gang) -> None:
    assert Gang.from_environment(env, num_ranks=8) == gang
