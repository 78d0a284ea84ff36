"""Who this process is among the ranks of a gang, how ranks and launcher talk, and when all have been asked to leave.

Launcher and ranks share one private folder: a rank leaves its process id there when it can be signalled and its last
word when it ends; the launcher leaves the signal that it was sent. Whoever comes second sees what the other left, so no
signal is lost. Torch is imported only where ranks speak to each other.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from llava_contract import causes
from llava_contract.result import StageResult
from llava_contract.schema import Schema
from llava_trainer.errors import Interrupted, LlavaError, Terminated

if TYPE_CHECKING:
    import torch

__all__ = [
    "LastWord", "RankFolder", "Ranks", "StopFlag", "broadcast_text", "gather_texts", "join_gang", "leave_gang",
    "leaving", "peak_memory_bytes", "uses_cuda",
]  # fmt: skip

RANK_FOLDER_ENV: Final = "LLAVA_RANK_RESULT_DIR"


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's place: rank of world_size, and its number on this machine, which picks the device."""

    rank: int
    world_size: int
    local_rank: int

    @classmethod
    def from_environment(cls) -> Ranks:
        """Read what the launcher set; a process started by hand is alone."""
        env = os.environ
        return cls(int(env.get("RANK", 0)), int(env.get("WORLD_SIZE", 1)), int(env.get("LOCAL_RANK", 0)))


class LastWord(Schema):
    """What a rank leaves behind when it ends by its own will."""

    rank: int
    time: float
    """Seconds since the epoch at which it knew."""
    is_consequence: bool = False
    """A peer's death caused this failure, so the peer is to blame."""
    result: StageResult


@dataclass(frozen=True, slots=True)
class RankFolder:
    """The private folder of one gang on one machine."""

    path: Path

    @classmethod
    def from_environment(cls) -> RankFolder | None:
        """The launcher's folder; None in a process started by hand."""
        return cls(Path(os.environ[RANK_FOLDER_ENV])) if RANK_FOLDER_ENV in os.environ else None

    def announce(self, rank: int) -> None:
        """Say that this process may be signalled from now on."""
        _write(self.path / f"rank-{rank}.pid", str(os.getpid()))

    def pids(self) -> list[int]:
        """Process ids of the ranks that may be signalled."""
        return [int(file.read_text()) for file in sorted(self.path.glob("rank-*.pid"))]

    def ask_to_leave(self, number: int) -> None:
        """Leave the signal for ranks that are not there yet."""
        _write(self.path / "signal", str(number))

    @property
    def asked(self) -> int | None:
        """The signal that the launcher was sent, if any."""
        file = self.path / "signal"
        return int(file.read_text()) if file.exists() else None

    def leave_word(self, word: LastWord) -> None:
        """Keep a rank's last word for the launcher."""
        _write(self.path / f"rank-{word.rank}.json", word.model_dump_json())

    def word(self, rank: int) -> LastWord | None:
        """What that rank said, if it said anything."""
        file = self.path / f"rank-{rank}.json"
        return LastWord.model_validate_json(file.read_bytes()) if file.exists() else None


def _write(file: Path, text: str) -> None:
    draft = file.with_name(f".{file.name}-{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


class StopFlag:
    """Whether this process has been asked to leave.

    Normally the request is an exception at once (Terminated or Interrupted). Inside `deferred()` it waits, so that a
    training step can end and the state be saved; a second Ctrl-C does not wait.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._is_deferred = False
        self._has_raised = False

    def install(self) -> None:
        """Listen to SIGTERM and SIGINT from now on; main thread only."""
        assert threading.current_thread() is threading.main_thread(), "signals are handled by the main thread"
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def request(self, number: int) -> None:
        """Ask this process to leave, as if it had been sent that signal."""
        is_impatient = number == signal.SIGINT and self._signal == signal.SIGINT
        self._signal = self._signal or number
        if is_impatient or not self._is_deferred:
            self.raise_if_requested()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  (the signature of a handler)
        self.request(number)

    @property
    def received(self) -> int:
        """The first signal that came; 0 while there is none."""
        return self._signal or 0

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let requests wait until the block asks for them or ends."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def raise_if_requested(self) -> None:
        """Raise Terminated or Interrupted, once in the life of the process."""
        if self._signal is not None and not self._has_raised:
            self._has_raised = True
            raise leaving(self._signal)


def leaving(number: int, *, saved_step: int | None = None) -> LlavaError:
    """The error that stands for a signal; `saved_step`: the checkpoint that was taken because of it."""
    saved = f"step {saved_step:,} is saved" if saved_step else "nothing new was saved"
    if number == signal.SIGINT:
        return Interrupted(f"Interrupted; {saved}. {causes.INTERRUPTED.advice}")
    return Terminated(f"Asked to leave by SIGTERM; {saved}. The next attempt goes on from the last checkpoint.")


def join_gang(ranks: Ranks, *, timeout_s: float) -> torch.device:
    """Open the process group and give this rank's device: NCCL and its GPU, else gloo. A rank alone needs no port."""
    import torch  # noqa: PLC0415
    import torch.distributed as dist  # noqa: PLC0415

    device = torch.device("cuda", ranks.local_rank) if uses_cuda() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    alone = {"store": dist.HashStore(), "rank": 0, "world_size": 1} if ranks.world_size == 1 else {}
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s), **alone)
    return device


def leave_gang() -> None:
    """Close the process group, if one is open."""
    import torch.distributed as dist  # noqa: PLC0415

    if dist.is_initialized():
        dist.destroy_process_group()


def uses_cuda() -> bool:
    """Whether ranks compute on CUDA devices; DS_ACCELERATOR=cpu says no on any machine."""
    import torch  # noqa: PLC0415

    return os.environ.get("DS_ACCELERATOR") != "cpu" and torch.cuda.is_available()


def peak_memory_bytes() -> int:
    """The most memory that this process has held: of its CUDA device, or of the host where it computes on the CPU."""
    import torch  # noqa: PLC0415

    if uses_cuda():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def gather_texts(text: str) -> list[str]:
    """Give every rank what each rank passed, in the order of ranks. No pickle travels."""
    import torch  # noqa: PLC0415
    import torch.distributed as dist  # noqa: PLC0415

    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    data = bytearray(text.encode())
    sizes = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(data)], device=device))
    room = max(int(size) for size in sizes) + 1  # a tensor of no bytes cannot be made from a buffer
    rows = [torch.zeros(room, dtype=torch.uint8, device=device) for _ in sizes]
    dist.all_gather(rows, torch.frombuffer(data.ljust(room, b"\0"), dtype=torch.uint8).to(device))
    return [bytes(row[: int(size)].tolist()).decode() for row, size in zip(rows, sizes, strict=True)]


def broadcast_text(text: str) -> str:
    """Give every rank what rank 0 passed; what others pass does not matter."""
    return gather_texts(text)[0]
