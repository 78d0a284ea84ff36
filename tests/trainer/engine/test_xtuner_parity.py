"""Our engine, whatever its ZeRO stage and packing, trains to XTuner's numbers from XTuner's starting weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from llava_contract.v1alpha1.training import DeepspeedSpec, Precision
from llava_trainer.checkpoint.state import Slot
from llava_trainer.engine.step import Agreed, StepInput, StepReport, run_step
from llava_trainer.engine.zero import ZeroEngine, ZeroSettings, open_engine
from llava_trainer.ranks import Ranks
from support.xtuner_cases import TUNING, Want, XtunerCase

pytestmark = [pytest.mark.golden, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Trained:
    """All updates of a case, wanted and done, and the weights behind the last."""

    case: XtunerCase
    updates: list[tuple[Want, StepReport]]
    weights: dict[str, torch.Tensor]


RUNS = [*((stage, True) for stage in range(4)), (2, False)]


def in_words(run: tuple[int, bool]) -> str:
    return f"zero{run[0]}-{'packed' if run[1] else 'unpacked'}"


@pytest.fixture(scope="module", params=RUNS, ids=in_words)
def run(request: pytest.FixtureRequest) -> tuple[int, bool]:
    return request.param


@pytest.fixture(scope="module", params=TUNING)
def trained(request: pytest.FixtureRequest, alone: Ranks, run: tuple[int, bool]) -> Trained:
    case, (stage, is_packed) = XtunerCase(request.param), run
    settings = ZeroSettings(DeepspeedSpec(zero_stage=stage), Precision.FP32, 1.0, 0.0, persistence_threshold=0)
    engine = open_engine(case.model(), settings, ranks=alone)
    updates = list(train(engine, case, is_packed=is_packed, ranks=alone))
    masters = [fragment for fragment in engine.fragments() if fragment.span.slot is Slot.MASTER]
    weights = {fragment.span.name: fragment.values_N.view(engine.shapes[fragment.span.name]) for fragment in masters}
    return Trained(case, updates, weights)


def train(engine: ZeroEngine, case: XtunerCase, *, is_packed: bool, ranks: Ranks) -> Iterator[tuple[Want, StepReport]]:
    for step, want in enumerate(case.updates()):
        batches = case.batches(want, is_packed=is_packed)
        given = StepInput(step, batches, len(batches), want.num_labels, learning_rate=case.rate.at(step), seed=0)
        yield want, run_step(engine, given, ranks=ranks, wish=Agreed())


def test_every_loss_equals_xtuners(trained: Trained) -> None:
    for want, done in trained.updates:
        assert done.loss == pytest.approx(want.loss, rel=0, abs=5e-6), done.step


def test_every_gradient_norm_equals_xtuners(trained: Trained) -> None:
    for want, done in trained.updates:
        assert done.grad_norm == pytest.approx(want.grad_norm, rel=1e-5, abs=0), done.step


def test_every_rate_equals_xtuners(trained: Trained) -> None:
    for want, done in trained.updates:
        assert done.learning_rate == pytest.approx(want.learning_rate, rel=1e-9), done.step


def test_final_weights_equal_xtuners(trained: Trained) -> None:
    want = trained.case.final()
    for name, weight in trained.weights.items():
        torch.testing.assert_close(weight, want.pop(name), rtol=0, atol=5e-5, msg=name)
    untouched = trained.case.state("init")
    assert all(torch.equal(tensor, untouched[name]) for name, tensor in want.items())


def test_twelve_iterations_were_compared(trained: Trained) -> None:
    assert sum(len(want.rows) for want, _ in trained.updates) == 12
