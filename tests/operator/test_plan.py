"""What a spec asks for: stages and the size of their gangs."""

from __future__ import annotations

from typing import Any

import pytest

from llava_contract.run import Stage
from llava_operator.core.plan import plan_job
from support.jobs import job


@pytest.mark.parametrize(
    ("workers", "want"),
    [
        # workers, ranks and GPUs of: prepare, pretrain, finetune, convert, evaluate
        ({"replicas": 2, "gpusPerWorker": 8}, [(1, 1, 0), (2, 16, 8), (2, 16, 8), (1, 1, 0), (1, 1, 1)]),
        ({"gpusPerWorker": 1}, [(1, 1, 0), (1, 1, 1), (1, 1, 1), (1, 1, 0), (1, 1, 1)]),
        ({"gpusPerWorker": 0, "ranksPerWorker": 2}, [(1, 1, 0), (1, 2, 0), (1, 2, 0), (1, 1, 0), (1, 1, 0)]),
        ({"gpusPerWorker": 0}, [(1, 1, 0), (1, 1, 0), (1, 1, 0), (1, 1, 0), (1, 1, 0)]),
    ],
)
def test_only_training_takes_the_gang(workers: dict[str, Any], want: list[tuple[int, int, int]]) -> None:
    plan = plan_job(job().wanting(workers=workers).build())
    assert [(s.num_workers, s.num_ranks, s.gpus_per_worker) for s in plan.stages] == want
    assert [s.stage for s in plan.stages] == list(Stage)


def test_the_gate_is_the_first_benchmark_under_vlmevalkit() -> None:
    gate = plan_job(job().build()).gate
    assert gate is not None
    assert gate.result == "shapes/vlmevalkit/circular"
