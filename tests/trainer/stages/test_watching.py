"""Held-out rows and sample answers: real gangs, which train as if nobody watched."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llava_contract.result import Progress
from llava_contract.v1alpha1.training import DeepspeedSpec
from llava_contract.v1alpha1.watching import SamplesSpec, ValidationSpec
from llava_trainer.storage import open_storage
from llava_trainer.tracking.history import History
from llava_trainer.tracking.told_answers import ToldAnswer, ToldAnswers
from llava_trainer.tracking.validations import Validation, Validations
from support.ranks_of import ranks_of
from support.training_job import Ended, TinyJob, TrainingPlace, last_commit, losses, wait_for

pytestmark = pytest.mark.timeout(600)

STEPS = {"epochs": 2, "save_every_steps": 5, "keep_last": 1, "batch_size": 2}
"""12 steps of 4 samples on 2 ranks."""
VALIDATION = ValidationSpec(fraction=0.2, every_steps=4)
SAMPLES = SamplesSpec(prompts=["What colour is this ?", "circle square"], every_steps=6, max_new_tokens=6)
WATCHED = {**STEPS, "validation": VALIDATION, "samples": SAMPLES}
WORLDS = {"alone": (1, 0), "zero-2": (2, 2), "zero-3": (2, 3)}


@dataclass(frozen=True)
class Place(TrainingPlace):
    """What watchers have written there, too."""

    def validations(self) -> list[Validation]:
        return Validations.read(open_storage(str(self.storage)), "finetune")

    def answers(self) -> list[ToldAnswer]:
        return ToldAnswers.read(open_storage(str(self.storage)), "finetune")

    def kept(self) -> set[int]:
        return {int(file.parts[-3].removeprefix("step-")) for file in self.committed()}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TinyJob:
    return TinyJob.write(tmp_path_factory.mktemp("job"))


@pytest.fixture
def place(job: TinyJob, tmp_path: Path) -> Place:
    return Place(job, tmp_path)


def world(name: str) -> dict[str, Any]:
    num_ranks, stage = WORLDS[name]
    return {"num_ranks": num_ranks, "deepspeed": DeepspeedSpec(zero_stage=stage), "batch_size": 4 // num_ranks}


@pytest.fixture(scope="module")
def watched(job: TinyJob, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Place, Ended]]:
    done = {}
    for name in WORLDS:
        place = Place(job, tmp_path_factory.mktemp(name))
        ended = place.train(place.config(**WATCHED | world(name)))
        assert ended.code == 0, ended.log
        done[name] = place, ended
    return done


Watched = dict[str, tuple[Place, Ended]]


@pytest.mark.parametrize("name", ["zero-2", "zero-3"])
def test_training_goes_as_if_nobody_watched(watched: Watched, place: Place, name: str) -> None:
    ended = place.train(place.config(**STEPS | world(name)))
    assert ended.code == 0, ended.log
    assert losses(place.storage) == losses(watched[name][0].storage)


@pytest.mark.parametrize("name", WORLDS)
def test_the_model_is_asked_before_at_times_at_saves_and_after(watched: Watched, name: str) -> None:
    told = watched[name][0].answers()
    assert [row.step for row in told] == [step for step in (0, 5, 6, 10, 12) for _ in SAMPLES.prompts]
    assert {(row.prompt, row.image) for row in told} == {(text, "tiny.json row 25") for text in SAMPLES.prompts}
    assert any(row.answer for row in told)


@pytest.mark.parametrize("name", ["zero-2", "zero-3"])
def test_answers_and_held_out_losses_are_those_of_one_rank(watched: Watched, name: str) -> None:
    alone, gang = watched["alone"][0], watched[name][0]
    assert gang.answers() == alone.answers()
    assert [row.loss for row in gang.validations()] == pytest.approx(
        [row.loss for row in alone.validations()], abs=1e-5
    )


@pytest.mark.parametrize("name", WORLDS)
def test_held_out_rows_are_measured_when_due_and_by_source(watched: Watched, name: str) -> None:
    rows = watched[name][0].validations()
    assert [row.step for row in rows] == [4, 8, 12]
    assert all(set(row.by_source) == {"tiny.json", "text.json"} for row in rows)
    assert all(min(row.by_source.values()) < row.loss < max(row.by_source.values()) for row in rows)


@pytest.mark.parametrize("name", WORLDS)
def test_the_stage_hands_on_what_held_out_rows_prefer(watched: Watched, name: str) -> None:
    place, ended = watched[name]
    best = min(place.validations(), key=lambda row: row.loss)
    assert last_commit(ended.result) == best.checkpoint
    assert ended.result.artifacts["finetuneWeights"] == last_commit(ended.result).uri
    assert place.kept() == {best.step, 12}
    assert f"lowest at step {best.step}" in ended.result.message


def test_whoever_asks_is_told_of_speed_memory_and_held_out_loss(watched: Watched) -> None:
    place, _ = watched["zero-2"]
    told = Progress.model_validate_json((place.folder / "attempt-1" / "progress.json").read_bytes())
    assert told.tokens_per_second is not None
    assert told.samples_per_second is not None
    assert told.tokens_per_second > 5 * told.samples_per_second > 0
    assert told.memory_bytes is not None
    assert 1 << 26 < told.memory_bytes < 1 << 34
    assert told.validation_loss == place.validations()[-1].loss
    (events,) = (place.storage / "logs/tensorboard/finetune").iterdir()
    names = ("train/tokens_per_second", "train/memory_bytes", "validation/loss", "validation/text.json")
    assert [events.read_bytes().count(name.encode()) for name in names] == [12, 12, 3, 3]


def test_two_pictures_of_one_name_are_two_and_old_logs_go(place: Place) -> None:
    pictures = [place.folder / folder / "same.png" for folder in ("one", "two")]
    for number, picture in enumerate(pictures):
        picture.parent.mkdir()
        Image.new("RGB", (9, 9), (200 * number, 0, 0)).save(picture)
    samples = SamplesSpec(prompts=["a b"], images=[str(picture) for picture in pictures], max_new_tokens=1)
    config = place.config(max_steps=1, epochs=None, num_ranks=1, samples=samples)
    (place.storage / "logs").mkdir()
    (place.storage / "logs" / "finetune-validation.jsonl").write_text("of an earlier spec")
    ended = place.train(config)
    assert ended.code == 0, ended.log
    assert [(row.step, row.image) for row in place.answers()] == [(step, str(p)) for step in (0, 1) for p in pictures]
    assert place.validations() == []


def test_validation_that_was_written_after_the_rows_were_prepared_is_refused(place: Place) -> None:
    config = place.config(num_ranks=1, validation=VALIDATION)
    told = json.loads((place.storage / "set.json").read_text())
    (place.storage / "set.json").write_text(json.dumps({part: told[part] for part in ("images", "tokens")}))
    ended = place.train(config)
    assert (ended.code, ended.result.reason) == (10, "InvalidSpec"), ended.log
    assert "spec.finetune.validation: the rows were prepared before" in ended.result.message


RISING = {
    "epochs": 20, "save_every_steps": 1000, "learning_rate": 0.02, "num_ranks": 1, "batch_size": 4,
    "schedule": "constant", "validation": ValidationSpec(fraction=0.2, every_steps=3, patience=2),
}  # fmt: skip


def test_a_stage_ends_early_once_held_out_rows_have_been_patient(place: Place) -> None:
    ended = place.train(place.config(**RISING))
    assert ended.code == 0, ended.log
    rows = place.validations()
    best = min(rows, key=lambda row: row.loss)
    assert (ended.result.step, rows[-1].step) == (best.step + 6, best.step + 6)
    assert ended.result.step < ended.result.total_steps == 120
    assert last_commit(ended.result) == best.checkpoint
    assert f"Ended after {best.step + 6} of 120 steps" in ended.result.message
    again = place.train(place.config(attempt=2, **RISING))
    assert (again.code, again.result.step, again.result.checkpoint) == (0, ended.result.step, ended.result.checkpoint)


def test_a_killed_gang_prefers_what_the_undisturbed_one_would(watched: Watched, place: Place) -> None:
    with place.begin(place.config(**WATCHED | world("zero-2"))) as running:
        wait_for(lambda: bool(place.kept()))
        os.kill(ranks_of(running)[1], signal.SIGKILL)
        killed = running.wait()
    assert killed.code == 137
    again = place.train(place.config(attempt=2, **WATCHED | world("zero-2")))
    assert again.code == 0, again.log
    undisturbed, ended = watched["zero-2"]
    assert [(row.step, row.loss) for row in place.validations()] == [
        (row.step, row.loss) for row in undisturbed.validations()
    ]
    assert place.answers() == undisturbed.answers()
    assert last_commit(again.result).step == last_commit(ended.result).step


def test_a_loss_that_leaves_its_course_ends_the_attempt_and_names_rows(place: Place) -> None:
    """The first attempt's losses are rewritten, so that those of the second are far above the course."""
    assert place.train(place.config(**STEPS | {"epochs": 5})).code == 0
    history = History.resume(open_storage(str(place.storage)), "finetune", done_steps=30)
    history.rows = [replace(row, loss=0.5) for row in history.rows]
    history.flush()
    for attempt, asked, code in ((2, True, 77), (3, False, 0)):
        ended = place.train(place.config(attempt=attempt, **STEPS | {"epochs": 6, "stop_on_loss_spike": asked}))
        assert ended.code == code, ended.log
        if asked:
            assert re.match(
                r"Step 31: the loss left its course of 0\.5 for [34]\.\d+ .* by step 35 ", ended.result.message
            )
            assert len(re.findall(r"\w+\.json row \d+", ended.result.message)) == 4
