"""What the trainer's tests share: a process group of one rank, for code that speaks to its gang."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llava_trainer.ranks import Ranks


@pytest.fixture(scope="module")
def alone() -> Iterator[Ranks]:
    """This process is the whole gang."""
    from llava_trainer.ranks import join_gang, leave_gang

    with pytest.MonkeyPatch.context() as env:
        env.setenv("DS_ACCELERATOR", "cpu")
        env.setenv("LOCAL_RANK", "0")
        ranks = Ranks(0, 1, 0)
        join_gang(ranks, timeout_s=60)
        yield ranks
        leave_gang()
