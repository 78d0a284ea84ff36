"""What an edit of the spec does to an attempt that waits in vain, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llava_contract import causes
from llava_contract.run import Stage
from llava_contract.v1alpha1.status import AttemptRecord, JobStatus
from llava_operator.core.decide import decide
from llava_operator.core.decision import Decision, RestartStage, Situation, StartAttempt, Wait
from llava_operator.core.events import Event, event_of
from llava_operator.core.observe import AttemptState, Observed, Waiting
from llava_operator.core.plan import plan_job
from llava_operator.core.status import latched
from support.fakes import World
from support.jobs import NOON, SPEC, job

NO_IMAGE = Waiting("ImagePullBackOff", "pod-0: image x:typo cannot be pulled")
MENDED = {"workers": {**SPEC["workers"], "image": "x:1"}}


def decision(
    edit: dict[str, Any], *, waiting: Waiting | None = NO_IMAGE, state: AttemptState = AttemptState.PENDING
) -> Decision:
    """Decide about an attempt that was started before an edit."""
    before = job().named_only().running()
    assert before.seen is not None
    observed = Observed((replace(before.seen, state=state, waiting=waiting),))
    built, after = before.build(), before.wanting(**edit).build()
    stages = [stage.model_copy(update={"spec_digest": plan_job(built).digest}) for stage in built.status.stages]
    plan = plan_job(after)
    status = latched(built.status.model_copy(update={"stages": stages}), plan, observed=observed, now=NOON)
    return decide(Situation(plan, status, observed, NOON))


def test_an_attempt_that_waits_in_vain_is_made_anew_from_the_mended_spec() -> None:
    restart = decision(MENDED)
    assert isinstance(restart, RestartStage)
    assert (restart.failed.reason, restart.failed.charged) == ("SpecEdited", False)
    assert NO_IMAGE.message in restart.failed.message


@pytest.mark.parametrize(
    ("edit", "rest"),
    [
        ({}, {}),
        ({"runPolicy": {"maxRestarts": 9}}, {}),
        (MENDED, {"waiting": None}),
        (MENDED, {"waiting": None, "state": AttemptState.RUNNING}),
    ],
    ids=["no edit", "another limit", "starting", "running"],
)
def test_what_starts_or_runs_or_is_not_concerned_goes_on(edit: dict[str, Any], rest: dict[str, Any]) -> None:
    assert isinstance(decision(edit, **rest), Wait)


def test_another_queue_is_another_attempt() -> None:
    assert isinstance(decision({"runPolicy": {"queueName": "other"}}, waiting=Waiting("Queued", "q")), RestartStage)


def test_the_next_attempt_follows_at_once() -> None:
    edited = job().after(75, causes.EDITED.exit_code, steps=(5, 5))
    assert isinstance(edited.restarting(failed_s_ago=0).decision(), StartAttempt)


def test_an_edited_spec_is_asked_about_again_before_its_first_attempt() -> None:
    world = World()
    world.step()
    world.respec(**MENDED)
    world.run()
    assert [child.split("-", 2)[2] for child, _ in world.admitted] == ["prepare-1", "pretrain-1"]


def test_nobody_is_warned_of_an_attempt_that_is_made_anew() -> None:
    record = AttemptRecord(attempt=1, exit_code=causes.EDITED.exit_code, reason=causes.EDITED.reason, message="edited")
    event = event_of(RestartStage(Stage.FINETUNE, "a", record), JobStatus())
    assert event == Event("SpecEdited", "finetune is made anew: edited")
