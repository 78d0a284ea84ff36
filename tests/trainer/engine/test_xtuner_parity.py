"""Our engine, whatever its ZeRO stage, packing and ranks, trains to XTuner's numbers from XTuner's starting weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from llava_trainer.checkpoint.restore import read_weights
from llava_trainer.ranks import Ranks
from llava_trainer.storage import open_storage
from support import xtuner_cases
from support.golden import golden
from support.launcher import run_config, start_script
from support.xtuner_cases import RUNS, TUNING, Done, Run, Want, XtunerCase, train_case

pytestmark = [pytest.mark.golden, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Trained:
    """A case, what was measured, and the weights behind its last update."""

    case: XtunerCase
    done: Done
    weights: dict[str, torch.Tensor]

    def updates(self) -> Iterator[tuple[Want, float, float, float]]:
        """What each update should have measured, then its loss, gradient norm and rate."""
        for want, measured in zip(self.case.updates(), self.done.updates, strict=True):
            yield want, *measured


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("xtuner")


@pytest.fixture(scope="module")
def by_gang(folder: Path) -> dict[str, Done]:
    """All cases on two ranks, in one process group."""
    golden("training")
    ended = start_script(xtuner_cases, run_config(2), folder).wait()
    assert ended.code == 0, ended.log
    return {name: Done(*values) for name, values in json.loads((folder / "done.json").read_text()).items()}


@pytest.fixture(scope="module", params=RUNS, ids=str)
def run(request: pytest.FixtureRequest) -> Run:
    return request.param


@pytest.fixture(scope="module", params=TUNING)
def trained(request: pytest.FixtureRequest, alone: Ranks, run: Run, folder: Path) -> Trained:
    case, storage = XtunerCase(request.param), open_storage(str(folder))
    if run.num_ranks > 1:
        done = request.getfixturevalue("by_gang")[f"{case.name}-{run}"]
    else:
        done = train_case(case, run, storage, alone)
    return Trained(case, done, read_weights(storage, done.uri))


def test_every_loss_equals_xtuners(trained: Trained) -> None:
    for want, loss, _, _ in trained.updates():
        assert loss == pytest.approx(want.loss, rel=0, abs=5e-6), want.rows


def test_every_gradient_norm_equals_xtuners(trained: Trained) -> None:
    for want, _, norm, _ in trained.updates():
        assert norm == pytest.approx(want.grad_norm, rel=1e-5, abs=0), want.rows


def test_every_rate_equals_xtuners(trained: Trained) -> None:
    for want, _, _, rate in trained.updates():
        assert rate == pytest.approx(want.learning_rate, rel=1e-9), want.rows


def test_final_weights_equal_xtuners(trained: Trained) -> None:
    want, untouched = trained.case.final(), trained.case.state("init")
    for name, weight in trained.weights.items():
        torch.testing.assert_close(weight, want.pop(name), rtol=0, atol=5e-5, msg=name)
    assert all(torch.equal(tensor, untouched[name]) for name, tensor in want.items())


def test_twelve_iterations_were_compared(trained: Trained) -> None:
    assert sum(len(want.rows) for want, *_ in trained.updates()) == 12
