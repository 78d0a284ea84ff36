"""The training stage as a process: what it leaves behind, and that no failure changes what comes out."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from llava_contract.v1alpha1.training import LoraSettings, TuningMode, TuningSpec
from llava_trainer.errors import InvalidSpec, LlavaError, WeightsMismatch
from llava_trainer.stages import train
from llava_trainer.storage import open_storage
from llava_trainer.tracking.history import History
from support.ranks_of import ranks_of
from support.training_job import Ended, TinyJob, TrainingPlace, last_commit, losses, wait_for

pytestmark = pytest.mark.timeout(600)

DROPOUT = TuningSpec(mode=TuningMode.LORA, lora=LoraSettings(rank=4, alpha=8, dropout=0.1))
LONG = {"epochs": 8, "save_every_steps": 12, "batch_size": 2, "llm": DROPOUT, "vision_tower": DROPOUT}
"""48 steps of 4 samples: long enough to be killed in the middle; dropout shows whether random numbers are the same."""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TinyJob:
    return TinyJob.write(tmp_path_factory.mktemp("job"))


@pytest.fixture
def place(job: TinyJob, tmp_path: Path) -> TrainingPlace:
    return TrainingPlace(job, tmp_path)


@pytest.fixture(scope="module")
def undisturbed(job: TinyJob, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingPlace, Ended]:
    place = TrainingPlace(job, tmp_path_factory.mktemp("undisturbed"))
    ended = place.train(place.config(**LONG))
    assert ended.code == 0, ended.log
    return place, ended


def test_a_stage_says_what_it_made(undisturbed: tuple[TrainingPlace, Ended]) -> None:
    result = undisturbed[1].result
    assert (result.step, result.total_steps, result.reason) == (48, 48, "Succeeded")
    assert result.artifacts == {"finetuneWeights": last_commit(result).uri}
    assert set(result.seconds) == {"import", "work"}


def test_the_trace_tells_every_step_once(undisturbed: tuple[TrainingPlace, Ended]) -> None:
    assert [step for step, *_ in losses(undisturbed[0].storage)] == list(range(1, 49))


def test_tensorboard_finds_an_event_file(undisturbed: tuple[TrainingPlace, Ended]) -> None:
    (file,) = (undisturbed[0].storage / "logs/tensorboard/finetune").iterdir()
    assert file.read_bytes().count(b"train/loss") == 48


def test_the_trace_tells_the_loss_of_each_source(undisturbed: tuple[TrainingPlace, Ended]) -> None:
    rows = History.read(open_storage(str(undisturbed[0].storage)), "finetune")
    assert {name for row in rows for name in row.by_source} == {"tiny.json", "text.json"}
    assert all(min(row.by_source.values()) - 1e-5 < row.loss < max(row.by_source.values()) + 1e-5 for row in rows)
    (events,) = (undisturbed[0].storage / "logs/tensorboard/finetune").iterdir()
    assert events.read_bytes().count(b"source/text.json") == sum("text.json" in row.by_source for row in rows)


def test_a_killed_rank_costs_nothing_but_time(undisturbed: tuple[TrainingPlace, Ended], place: TrainingPlace) -> None:
    with place.begin(place.config(**LONG)) as running:
        wait_for(lambda: bool(place.committed()))
        os.kill(ranks_of(running)[1], signal.SIGKILL)
        killed = running.wait()
    assert (killed.code, killed.result.reason) == (137, "Killed")
    again = place.train(place.config(attempt=2, **LONG).model_copy(update={"last_commit": killed.result.checkpoint}))
    assert "going on from step" in again.log
    assert again.code == 0, again.log
    assert losses(place.storage) == losses(undisturbed[0].storage)
    assert place.weights(again) == undisturbed[0].weights(undisturbed[1])


def test_sigterm_saves_and_the_next_attempt_goes_on(place: TrainingPlace) -> None:
    one = {"num_ranks": 1, "batch_size": 4, "epochs": 50, "save_every_steps": 1000}
    with place.begin(place.config(**one)) as running:
        wait_for(lambda: "step 1/" in running.log())
        running.process.send_signal(signal.SIGTERM)
        ended = running.wait()
    assert (ended.code, ended.result.reason) == (143, "Terminated")
    assert last_commit(ended.result).step == ended.result.step > 0
    assert f"step {ended.result.step:,} is saved" in ended.result.message
    assert len(place.committed()) == 1


def test_a_finished_stage_finds_its_end_on_any_number_of_ranks(undisturbed: tuple[TrainingPlace, Ended]) -> None:
    place, before = undisturbed
    again = place.train(place.config(attempt=2, num_ranks=1, **LONG | {"batch_size": 4}))
    assert again.code == 0, again.log
    assert (again.result.step, again.result.checkpoint) == (48, before.result.checkpoint)


def test_lora_trains_adapters_and_projector_only(undisturbed: tuple[TrainingPlace, Ended]) -> None:
    trained = undisturbed[0].weights(undisturbed[1])
    parts = {name.partition(".")[0] for name in trained}
    assert parts == {"llm", "projector", "vision_tower"}
    assert all("lora" in name or name.startswith("projector.") for name in trained)


@pytest.mark.parametrize(
    ("global_batch", "parameters", "error"), [(8, {"w": (2,)}, InvalidSpec), (4, {"w": (3,)}, WeightsMismatch)]
)
def test_a_checkpoint_of_other_steps_or_another_model_is_refused(
    global_batch: int, parameters: dict[str, tuple[int, ...]], error: type[LlavaError]
) -> None:
    engine = SimpleNamespace(shapes={"w": (2,)})
    feed = SimpleNamespace(batching=SimpleNamespace(global_batch=4))
    manifest = SimpleNamespace(global_batch=global_batch, parameters=parameters)
    newest = SimpleNamespace(manifest=manifest, ref=SimpleNamespace(uri="file:///checkpoint"))
    with pytest.raises(error, match="file:///checkpoint"):
        train._resume(engine, newest, feed)
