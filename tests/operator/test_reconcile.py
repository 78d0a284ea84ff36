"""The story: intent, act, tell; and the same end wherever the process dies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llava_contract.run import JobKind, Stage, TrainTask
from llava_contract.v1alpha1.status import JobStatus, Phase, StageState
from llava_operator.core.decision import Rest, StartAttempt, Wait
from llava_operator.core.job import Key
from llava_operator.errors import Transient
from llava_operator.reconcile import reconcile
from support.fakes import RememberingWorld, World
from support.jobs import NOON, TRAINING

WITH_PROJECTOR = {**TRAINING, "pretrainedProjector": "/made/before"}
FAILING = {(Stage.PRETRAIN, 1): 75, (Stage.FINETUNE, 1): 137, (Stage.FINETUNE, 2): 143}
STEPS = {(Stage.FINETUNE, 1): 10, (Stage.FINETUNE, 2): 20}


def failing_world() -> World:
    return World(exits=FAILING, steps=STEPS)


def test_an_undisturbed_job_succeeds() -> None:
    status = World().run()
    assert (status.phase, status.restarts, status.score) == (Phase.SUCCEEDED, 0, "87.5")
    assert {stage.state for stage in status.stages} == {StageState.SUCCEEDED}


def test_restarts_and_budget_are_counted_apart() -> None:
    status = failing_world().run()
    assert (status.phase, status.restarts, status.budget_used) == (Phase.SUCCEEDED, 3, 2)


def test_intent_is_written_before_the_act_and_told_after() -> None:
    world = World()
    world.step()
    first = world.job.status.stages[0].job_name
    assert world.log == ["write prepare Pending", f"start {first}", "tell AttemptStarted"]


def test_a_failure_is_told_even_if_its_gang_cannot_be_stopped_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(exits={(Stage.PREPARE, 1): 75})
    monkeypatch.setattr(world, "stop", raiser(Transient("no answer")))
    with pytest.raises(Transient):
        world.run()
    assert "AttemptFailed" in [event.reason for event in world.events]


def test_a_start_that_did_not_happen_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(world, "start", raiser(Transient("no answer")))
    with pytest.raises(Transient):
        world.step()
    assert world.events == []


def raiser(error: Exception) -> Callable[[object], None]:
    def refuse(_: object) -> None:
        raise error

    return refuse


def test_one_change_is_one_write() -> None:
    world = failing_world()
    world.run()
    starts = sum(line.startswith("start") for line in world.log)
    # Each of the attempts: named, seen running, ended; and the job's end.
    assert sum(line.startswith("write") for line in world.log) == 3 * starts + 1


def test_nothing_new_writes_nothing() -> None:
    world = World()
    world.step(), world.step()
    before = list(world.log)
    world.step()
    assert world.log == before


def without_times(status: JobStatus) -> object:
    times = {"start_time", "completion_time", "last_transition_time"}
    return status.model_dump(exclude={"start_time": True, "completion_time": True, "conditions": {"__all__": times},
                                      "stages": {"__all__": times}})  # fmt: skip


UNDISTURBED = failing_world()
WANT = without_times(UNDISTURBED.run())


@pytest.mark.parametrize("crash_at", range(UNDISTURBED.num_effects))
def test_a_crash_anywhere_changes_nothing(crash_at: int) -> None:
    world = failing_world()
    world.crash_at = crash_at
    assert without_times(world.run_through_crashes()) == WANT
    assert len({(c.stage, c.attempt) for c in world.configs}) == len(world.configs) == 8


def test_the_next_attempt_knows_the_last_commit() -> None:
    world = failing_world()
    world.run()
    told = [c.last_commit and c.last_commit.step for c in world.configs if c.stage is Stage.FINETUNE]
    assert told == [None, 10, 20]


def test_nan_goes_back_before_the_commit_that_led_to_it() -> None:
    world = World(exits={(Stage.FINETUNE, 1): 75, (Stage.FINETUNE, 2): 77}, steps={**STEPS, (Stage.FINETUNE, 3): 30})
    world.run()
    third = next(c for c in world.configs if (c.stage, c.attempt) == (Stage.FINETUNE, 3))
    assert (third.last_commit, third.resume_before_step) == (None, 20)


def test_what_a_stage_made_flows_into_the_next() -> None:
    world = World()
    world.run()
    tasks = {c.stage: c.task for c in world.configs}
    finetune = tasks[Stage.FINETUNE]
    assert isinstance(finetune, TrainTask)
    assert (finetune.prepared, finetune.pretrained_projector) == ("/made/set2", "/made/pretrain")
    assert tasks[Stage.CONVERT].checkpoints == ["/made/pretrain", "/made/finetune"]  # type: ignore[union-attr]
    assert tasks[Stage.EVALUATE].model_uri == "/made/model"  # type: ignore[union-attr]


def test_bad_data_fails_at_once_and_says_so() -> None:
    world = World(exits={(Stage.PREPARE, 1): 12})
    status = world.run()
    assert (status.phase, len(world.configs)) == (Phase.FAILED, 1)
    assert world.events[-1].reason == "BadData"


def test_suspension_stops_and_resuming_goes_on_uncharged() -> None:
    world = World()
    world.step(), world.step()
    world.respec(runPolicy={"suspend": True})
    assert world.run().phase is Phase.SUSPENDED
    assert not any(seen.members for seen in world.attempts.values())
    world.respec()
    status = world.run()
    assert (status.phase, status.restarts, status.budget_used) == (Phase.SUCCEEDED, 1, 0)


def troubled_world() -> World:
    """Return a job that ends ten attempts at finetune, each further than the last, and is suspended twice."""
    exits = {(Stage.FINETUNE, attempt): 143 if attempt % 2 else 75 for attempt in range(1, 11)}
    steps = {(Stage.FINETUNE, attempt): 10 * attempt for attempt in range(1, 11)}
    world = World(exits=exits, steps=steps)
    for _ in range(2):
        world.respec(runPolicy={"suspend": True})
        world.run()
        world.respec(runPolicy={"maxRestarts": 99})
        world.step(), world.step()
    return world


def test_a_long_life_is_told_in_few_events() -> None:
    world = troubled_world()
    status = world.run()
    told = [event.reason for event in world.events if not event.is_routine]
    assert (status.phase, status.restarts >= 10, len(world.events) > 30) == (Phase.SUCCEEDED, True, True)
    assert (len(told), told.count("AttemptFailed"), told.count("AttemptStarted")) == (11, 3, 1)


@pytest.mark.parametrize(
    ("left_out", "stages"),
    [
        ({"pretrain": None, "finetune": WITH_PROJECTOR}, ["prepare", "finetune", "convert", "evaluate"]),
        ({"evaluate": None}, ["prepare", "pretrain", "finetune", "convert"]),
        ({"evaluate": None, "convert": None, "finetune": None}, ["prepare", "pretrain"]),
    ],
)
def test_stages_that_the_spec_leaves_out_are_skipped(left_out: dict[str, object], stages: list[str]) -> None:
    world = World()
    world.respec(**left_out)
    assert [stage.name for stage in world.run().stages] == stages


def test_a_job_that_is_not_there_rests() -> None:
    world = World()
    assert reconcile(Key(JobKind.TRAIN, "team", "other"), world, backend=world, now=NOON) == Rest()


def test_waiting_asks_nobody() -> None:
    world = RememberingWorld()
    world.step(), world.see(), world.step()
    before = world.num_renewed
    world.see(), world.step()
    assert (before, world.num_renewed) == (0, 0)


def test_the_first_attempt_is_named_in_the_version_that_names_none_and_asks_for_no_other_proof() -> None:
    world = RememberingWorld()
    assert (type(world.step()), world.num_renewed) == (StartAttempt, 0)


def test_all_later_attempts_are_started_after_asking() -> None:
    world = RememberingWorld()
    world.run()
    num_stages = len(world.job.status.stages)
    assert (num_stages, world.num_renewed >= num_stages - 1) == (5, True)


def test_a_loss_that_only_memory_knows_is_none() -> None:
    world = RememberingWorld()
    world.step(), world.see(), world.step()
    world.remembered.clear()
    assert isinstance(world.step(), Wait)
    assert world.job.status.restarts == 0


def test_a_second_attempt_is_never_started_from_memory() -> None:
    world = RememberingWorld()
    world.step()
    world.remembered.clear()
    world.step()
    assert sum(line.startswith("start") for line in world.log) == 1


def test_a_job_lived_from_memory_ends_as_one_that_is_seen() -> None:
    world = RememberingWorld(exits=FAILING, steps=STEPS)
    assert without_times(world.run()) == without_times(failing_world().run())
