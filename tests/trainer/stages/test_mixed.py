"""Gangs in which one rank has pictures and the other has none, step after step: nobody waits for anybody."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from llava_contract.v1alpha1.training import DeepspeedSpec
from llava_trainer.data.pack import Batching, Sizes, plan_epoch
from llava_trainer.data.shards import TokenSet
from support.tiny_model import PATCHES
from support.training_job import NUM_SAMPLES, TinyJob, losses, start

pytestmark = pytest.mark.timeout(600)

STEPS = 100


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TinyJob:
    return TinyJob.write(tmp_path_factory.mktemp("job"))


@pytest.mark.parametrize("stage", [2, 3])
def test_a_rank_without_images_beside_one_with_them_trains_on(job: TinyJob, tmp_path: Path, stage: int) -> None:
    config = job.config(
        tmp_path / "storage", batch_size=1, epochs=None, max_steps=STEPS, save_every_steps=STEPS,
        deepspeed=DeepspeedSpec(zero_stage=stage),
    )  # fmt: skip
    ended = start(config, tmp_path / "attempt").wait()
    assert ended.code == 0, ended.log
    trace = losses(tmp_path / "storage")
    assert len(trace) == STEPS
    assert all(math.isfinite(loss) for _, loss, _ in trace)
    assert num_mixed_steps(job) > STEPS // 4


def num_mixed_steps(job: TinyJob) -> int:
    """In how many steps exactly one of the two ranks has an image."""
    tokens = TokenSet.open(job.folder / "tokens")
    has_image = [count > 0 for count in tokens.num_slots.tolist()]
    columns = (tokens.lengths(PATCHES), tokens.num_labels, tokens.lengths(1), tokens.num_slots)
    sizes, batching = Sizes(*(column.tolist() for column in columns)), Batching(2, 2, 10_000)
    found = 0
    for step in range(STEPS):
        epoch, index = divmod(step, NUM_SAMPLES // 2)
        by_rank = plan_epoch(sizes, batching=batching, epoch=epoch).step(index).packs_by_rank
        seen = [any(has_image[i] for pack in packs for i in pack.sample_indices) for packs in by_rank]
        found += seen[0] != seen[1]
    return found
