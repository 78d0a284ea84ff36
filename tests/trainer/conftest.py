"""What the trainer's tests share: a process group of one rank, for code that speaks to its gang, and an S3 server."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from llava_trainer.ranks import Ranks
from support.s3_server import S3Server, s3_server


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
        # DeepSpeed remembers groups that it made in this one; a process that opens another gang is a test's alone.
        deepspeed = sys.modules.get("deepspeed.comm")
        if deepspeed is not None and deepspeed.is_initialized():
            deepspeed.destroy_process_group()
        leave_gang()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests of this process; whoever asks first waits for its start."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_owner(s3: S3Server, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, with its owner's credentials and an empty cache in this process's environment."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LLAVA_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    return s3
