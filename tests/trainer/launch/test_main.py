"""One rank's door: every way a stage can end becomes a code, a reason and a sentence."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from llava_trainer import __main__ as door
from llava_trainer.errors import BadData, Interrupted, LlavaError, Terminated
from llava_trainer.ranks import RankFolder, Ranks
from support.launcher import run_config


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BadData("row 3"), "BadData"),
        (KeyboardInterrupt(), "Interrupted"),
        (MemoryError(), "OutOfMemory"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), "OutOfMemory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "OutOfMemory"),
        (OSError(errno.ENOSPC, "No space left on device"), "NoSpace"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "NoSpace"),
        (OSError(errno.EROFS, "Read-only file system"), "StorageUnwritable"),
        (RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer"), "Infrastructure"),
        (RuntimeError("NCCL error: unhandled system error"), "Infrastructure"),
        (ValueError("a bug"), "UnexpectedError"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_error_has_a_cause(error: BaseException, reason: str) -> None:
    assert door.explain(error).cause.reason == reason


def test_a_lost_peer_is_a_consequence() -> None:
    assert door.explain(RuntimeError("gloo: Connection closed by peer")).is_consequence
    assert not door.explain(ValueError()).is_consequence


@pytest.mark.parametrize("asked", [Terminated("SIGTERM"), Interrupted("Ctrl-C")])
def test_a_wish_to_leave_is_not_lost_while_the_record_begins(
    asked: LlavaError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise asked

    monkeypatch.delenv("LLAVA_RESULT_FILE", raising=False)
    monkeypatch.setattr(door.Record, "begin", refuse)
    with pytest.raises(type(asked)):
        door._begin_record(run_config(1), Ranks(0, 1, 0))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RankFolder:
    monkeypatch.setenv("LLAVA_RANK_RESULT_DIR", str(tmp_path))
    monkeypatch.setattr(door, "_follow_launcher", lambda *_: None)
    monkeypatch.setattr(door, "_log_to_stderr", lambda *_: None)
    monkeypatch.setattr(door.StopFlag, "install", lambda _: None)
    return RankFolder(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read"),
        ("{", "Invalid JSON"),
        ('{"numRank": 2}', "Extra inputs are not permitted"),
        ("{}", "job: Field required"),
    ],
)
def test_a_bad_run_file_names_the_field(folder: RankFolder, text: str | None, told: str) -> None:
    file = folder.path / "run.json"
    if text is not None:
        file.write_text(text)
    assert door.main([str(file)]) == 10
    word = folder.word(0)
    assert word is not None
    assert told in word.result.message
