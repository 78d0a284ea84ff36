"""A cache that several pods fill at the same time, and that outlives them."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llava_trainer.storage import materialise, open_storage
from llava_trainer.storage.mirror import Mirror
from support.s3_server import READABLE, S3Server

FETCH = """
import json, sys
from llava_contract.run import StorageTarget
from llava_trainer.storage import materialise
folder = materialise(sys.argv[1], StorageTarget.model_validate_json(sys.argv[2]))
print(json.dumps({file.name: file.stat().st_ino for file in folder.iterdir()}))
"""


@pytest.fixture
def weights(s3_owner: S3Server) -> str:
    """Upload a folder of three files and give its URI."""
    prefix = secrets.token_hex(4)
    for name in ("a", "b", "c"):
        content = name.encode() * 1_000_000
        s3_owner.client().put_object(Bucket=READABLE, Key=f"{prefix}/{name}", Body=content)
    return f"s3://{READABLE}/{prefix}"


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes()[:1] for file in folder.iterdir()}


def test_two_processes_fetch_each_file_once(s3_owner: S3Server, weights: str) -> None:
    command = [sys.executable, "-c", FETCH, weights, s3_owner.target(weights).model_dump_json()]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (json.loads(process.communicate()[0]) for process in running)
    assert sorted(first) == ["a", "b", "c"]
    assert first == second


def test_without_locks_two_at_a_time_harm_no_file(
    s3_owner: S3Server, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, real = threading.Barrier(2, timeout=60), Mirror._download

    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOTSUP, "locks are not supported here")

    def download(self: Mirror, key: str, draft: Path) -> None:
        if key.endswith("/a"):
            both.wait()
        real(self, key, draft)
        if key.endswith("/a"):
            both.wait()

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(Mirror, "_download", download)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: materialise(weights, s3_owner.target(weights)), range(2))
    assert one == other
    assert files(one) == {"a": b"a", "b": b"b", "c": b"c"}
    assert all(file.stat().st_size == 1_000_000 for file in one.iterdir())


def test_drafts_of_the_killed_are_removed_and_those_of_the_living_stay(s3_owner: S3Server, weights: str) -> None:
    folder = materialise(weights, s3_owner.target(weights))
    killed, living = (folder / f"a.{name}.llava-part" for name in ("killed", "living"))
    for draft in (killed, living):
        draft.write_bytes(b"x")
    long_ago = time.time() - 2 * 86_400
    os.utime(killed, (long_ago, long_ago))
    materialise(weights, s3_owner.target(weights))
    assert (killed.exists(), living.exists()) == (False, True)


def test_a_copy_of_another_time_is_made_anew(s3_owner: S3Server, weights: str) -> None:
    file = materialise(f"{weights}/a", s3_owner.target(weights))
    os.utime(file, (1, 1))
    inode = file.stat().st_ino
    assert materialise(f"{weights}/a", s3_owner.target(weights)).stat().st_ino != inode


def test_pods_whose_processes_have_the_same_number_write_different_drafts(
    s3_owner: S3Server, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(s3_owner.target(weights))
    drafts = set()
    for host in ("pod-0", "pod-1"):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        drafts.add(storage.draft("model"))
    assert len(drafts) == 2
