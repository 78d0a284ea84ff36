"""How a script that launch.py runs in the place of the trainer joins its gang, works, and leaves a good last word."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from llava_contract.result import StageResult
from llava_trainer.ranks import LastWord, RankFolder, Ranks, join_gang, leave_gang


def work_in_gang(work: Callable[[Path, Ranks, torch.device], None]) -> None:
    """Call `work` with the folder of the run file, on every rank."""
    ranks = Ranks.from_environment()
    device = join_gang(ranks, timeout_s=60)
    work(Path(sys.argv[1]).parent, ranks, device)
    leave_gang()
    box = RankFolder.from_environment()
    assert box is not None
    done = StageResult(stage="finetune", attempt=1, exit_code=0, reason="Succeeded")
    box.leave_word(LastWord(rank=ranks.rank, time=time.time(), result=done))
