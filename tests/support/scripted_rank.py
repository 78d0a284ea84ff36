"""A rank that does what the environment's RANK_SCRIPT says, to be launched in the place of the trainer.

RANK_SCRIPT: JSON list, one entry a rank: "succeed", "wait", "word 77", "consequence 75" (of a peer's death), "exit 74"
or "kill".
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from llava_contract import causes
from llava_contract.result import StageResult
from llava_trainer.errors import LlavaError
from llava_trainer.ranks import LastWord, RankFolder, Ranks, StopFlag


def main() -> int:
    ranks, folder, stop = Ranks.from_environment(), RankFolder.from_environment(), StopFlag()
    assert folder is not None
    what, _, number = json.loads(os.environ["RANK_SCRIPT"])[ranks.rank].partition(" ")
    code = int(number or 0)
    try:
        stop.install()
        folder.announce(ranks.rank)
        if what == "wait":
            print("waiting", flush=True)
            threading.Event().wait(60)
    except LlavaError as error:
        code = error.cause.exit_code
    if what == "consequence":
        wait_for_a_death(folder, num_ranks=ranks.world_size)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what != "exit":
        reason = causes.by_exit_code(code).reason
        result = StageResult(stage="finetune", attempt=1, exit_code=code, reason=reason, message=f"rank {ranks.rank}")
        word = LastWord(rank=ranks.rank, time=time.time(), is_consequence=what == "consequence", result=result)
        folder.leave_word(word)
    return code


def wait_for_a_death(folder: RankFolder, *, num_ranks: int) -> None:
    """Wait until a peer is gone: what follows from its death comes after it, however busy the machine is."""
    while len(pids := folder.pids()) < num_ranks or all(map(is_alive, pids)):
        threading.Event().wait(0.01)


def is_alive(pid: int) -> bool:
    """Whether it runs; one that nobody has waited for yet is dead, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())
