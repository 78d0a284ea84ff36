"""What a step agrees on, and what it says when the loss is lost."""

from __future__ import annotations

import math
import signal
from types import SimpleNamespace

import pytest
import torch

from llava_contract.v1alpha1.training import DeepspeedSpec, Precision
from llava_trainer.engine.step import Agreed, StepInput, StepReport, run_step
from llava_trainer.engine.zero import ZeroEngine, ZeroSettings, open_engine
from llava_trainer.errors import Diverged
from llava_trainer.ranks import Ranks
from support.gang_cases import TinyNet, TinyPack, build, tiny_pack


@pytest.fixture(scope="module")
def engine(alone: Ranks) -> ZeroEngine:
    return build(2, Precision.FP32, alone)


def step(
    engine: ZeroEngine,
    packs: list[TinyPack],
    wish: Agreed = Agreed(),  # noqa: B008
    *,
    num_sources: int = 1,
) -> StepReport:
    given = StepInput(0, packs, len(packs), 4 * len(packs), learning_rate=0.0, seed=0, num_sources=num_sources)
    return run_step(engine, given, ranks=Ranks(0, 1, 0), wish=wish)


def poisoned() -> TinyPack:
    return TinyPack(
        torch.full((4, 8), torch.nan), torch.zeros(4, dtype=torch.int64), ("coco.json row 41",), torch.zeros(4)
    )


@pytest.mark.parametrize("wish", [Agreed(), Agreed(signal.SIGTERM), Agreed(signal.SIGINT, is_save_due=True)], ids=str)
def test_a_wish_comes_back_agreed(engine: ZeroEngine, wish: Agreed) -> None:
    assert step(engine, [tiny_pack(0, 0)], wish).agreed == wish


def test_the_loss_is_the_mean_over_all_labels_of_the_step(engine: ZeroEngine) -> None:
    apart = [step(engine, [tiny_pack(0, index)]).loss for index in range(2)]
    assert step(engine, [tiny_pack(0, 0), tiny_pack(0, 1)]).loss == pytest.approx(sum(apart) / 2, abs=1e-6)


def test_the_loss_of_sources_adds_up_to_the_whole(engine: ZeroEngine) -> None:
    report = step(engine, [tiny_pack(0, 0), tiny_pack(0, 1)], num_sources=3)
    first, second, absent = report.source_losses
    assert absent is None
    assert first is not None
    assert second is not None
    assert first != second
    assert (first + second) / 2 == pytest.approx(report.loss, abs=1e-6)


def test_a_single_source_is_not_told_twice(engine: ZeroEngine) -> None:
    assert step(engine, [tiny_pack(0, 0)]).source_losses == ()


def test_nan_names_the_rows_of_the_bad_pack_only(engine: ZeroEngine) -> None:
    with pytest.raises(Diverged, match=r"Step 1: loss nan.*Rows of the batch: coco\.json row 41\. "):
        step(engine, [tiny_pack(0, 0), poisoned()])


def test_an_engine_trains_what_comes_in_evaluation_mode(alone: Ranks) -> None:
    """As transformers gives its models: dropout and checkpointing would be off, and nobody would say so."""
    net = TinyNet().eval()
    open_engine(net, ZeroSettings(DeepspeedSpec(zero_stage=2), Precision.FP32, 1.0, 0.0), ranks=alone)
    assert all(module.training for module in net.modules())


def test_an_update_that_fp16_skips_is_no_lost_loss() -> None:
    overflown = SimpleNamespace(param_groups=[{}], overflow=True)
    inner = SimpleNamespace(optimizer=overflown, step=lambda: None, get_global_grad_norm=lambda: math.inf)
    settings = ZeroSettings(DeepspeedSpec(), Precision.FP16, 1.0, 0.0)
    assert ZeroEngine(inner, settings, named={}, shapes={}, ranks=Ranks(0, 1, 0)).update(0.1) == 0.0
