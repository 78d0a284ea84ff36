"""A world in memory for reconcile: every effect is counted, attempts end as told, and a crash can come at any step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from llava_contract.result import Artifact, StageResult
from llava_contract.run import RunConfig, Stage
from llava_contract.v1alpha1.status import JobStatus, StageState
from llava_operator.backends.base import Attempt
from llava_operator.core.decision import Decision, Rest
from llava_operator.core.events import Event
from llava_operator.core.job import Job, Key
from llava_operator.core.observe import AttemptState, Observed, ObservedAttempt
from llava_operator.core.plan import Plan
from llava_operator.reconcile import reconcile
from support.jobs import KEY, NOON, commit, result, spec

MADE = {
    Stage.PREPARE: {Artifact.PRETRAIN_DATA: "/made/set1", Artifact.FINETUNE_DATA: "/made/set2"},
    Stage.PRETRAIN: {Artifact.PRETRAIN_WEIGHTS: "/made/pretrain"},
    Stage.FINETUNE: {Artifact.FINETUNE_WEIGHTS: "/made/finetune"},
    Stage.CONVERT: {Artifact.HUGGINGFACE: "/made/model"},
    Stage.EVALUATE: {Artifact.SCORES: "/made/scores.json", Artifact.REPORT: "/made/report.html"},
}


class Crash(Exception):
    """The process died here."""


@dataclass
class World:
    """One job with everything around it; `log` is what happened, in order."""

    job: Job = field(default_factory=lambda: Job(KEY, uid="u1", generation=1, spec=spec(), status=JobStatus()))
    exits: dict[tuple[Stage, int], int] = field(default_factory=dict)
    """Exit code by stage and attempt; 0 when absent."""
    steps: dict[tuple[Stage, int], int] = field(default_factory=dict)
    """Checkpoint step by stage and attempt."""
    log: list[str] = field(default_factory=list)
    configs: list[RunConfig] = field(default_factory=list)
    attempts: dict[str, ObservedAttempt] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    admitted: list[tuple[str, int]] = field(default_factory=list)
    """What was asked about before anything was started: first child, number of stages."""
    refusal: Exception | None = None
    crash_at: int | None = None
    """Die before this effect, counted from 0."""
    num_effects: int = 0
    now: timedelta = timedelta(0)

    def respec(self, **changes: Any) -> None:
        """Change the spec, as its owner would."""
        self.job = replace(self.job, spec=spec(**changes))

    def get(self, key: Key) -> Job | None:
        return self.job if key == self.job.key else None

    def renew(self, key: Key) -> bool:  # noqa: ARG002  the port gives it
        return False

    def patch_status(self, job: Job, status: JobStatus) -> None:
        self._effect(f"write {status.current_stage} {status.phase}")
        assert job.status == self.job.status, "somebody wrote in between"
        self.job = replace(self.job, status=status)

    def emit(self, job: Job, event: Event) -> None:  # noqa: ARG002  the port gives it
        self._effect(f"tell {event.reason}")
        self.events.append(event)

    def observe(self, job: Job) -> Observed:  # noqa: ARG002  the port gives it
        return Observed(tuple(self.attempts.values()))

    def admit(self, first: Attempt, plan: Plan) -> None:
        self.admitted.append((first.child, len(plan.stages)))
        if self.refusal:
            raise self.refusal

    def start(self, attempt: Attempt) -> None:
        self._effect(f"start {attempt.child}")
        if attempt.child in self.attempts:
            return
        assert not any(other.members for other in self.attempts.values()), "two attempts are alive"
        config = attempt.config
        self.configs.append(config)
        self.attempts[attempt.child] = ObservedAttempt(
            attempt.child, config.stage, config.attempt, state=AttemptState.RUNNING, members=("1",)
        )

    def stop(self, child: str) -> None:
        self._effect(f"stop {child}")
        self._end(child, exit_code=143)

    def step(self) -> Decision:
        """Reconcile once, two minutes later than the last time."""
        self.now += timedelta(minutes=2)
        return reconcile(self.job.key, self, backend=self, now=NOON + self.now)

    def run(self) -> JobStatus:
        """Reconcile until nothing is left to do; running attempts end as told."""
        for _ in range(200):
            if isinstance(self.step(), Rest):
                return self.job.status
            for seen in list(self.attempts.values()):
                if seen.state is AttemptState.RUNNING and self._is_latched(seen):
                    self._end(seen.child, exit_code=self.exits.get((seen.stage, seen.attempt), 0))
        raise AssertionError("the job never comes to rest")

    def run_through_crashes(self) -> JobStatus:
        """Go on with a fresh process after a crash."""
        try:
            return self.run()
        except Crash:
            self.crash_at = None
            return self.run()

    def _is_latched(self, seen: ObservedAttempt) -> bool:
        return any(s.job_name == seen.child and s.state is StageState.RUNNING for s in self.job.status.stages)

    def _end(self, child: str, *, exit_code: int) -> None:
        seen = self.attempts[child]
        if seen.state is not AttemptState.RUNNING:
            return
        state = AttemptState.FAILED if exit_code else AttemptState.SUCCEEDED
        self.attempts[child] = replace(
            seen, state=state, exit_code=exit_code, members=(), result=self._result(seen, exit_code)
        )

    def _result(self, seen: ObservedAttempt, exit_code: int) -> StageResult:
        step = self.steps.get((seen.stage, seen.attempt))
        made = {} if exit_code else {str(name): uri for name, uri in MADE[seen.stage].items()}
        scores = {"shapes/vlmevalkit/circular": 0.875} if seen.stage is Stage.EVALUATE else {}
        return result(
            seen.stage, seen.attempt, exit_code=exit_code, artifacts=made, results=scores,
            checkpoint=None if step is None else commit(step), seconds={"import": 1.0, "work": 2.0},
        )  # fmt: skip

    def _effect(self, what: str) -> None:
        if self.num_effects == self.crash_at:
            raise Crash(what)
        self.num_effects += 1
        self.log.append(what)


@dataclass
class RememberingWorld(World):
    """The same, seen through a memory that learns only when it is told to."""

    remembered: dict[str, ObservedAttempt] = field(default_factory=dict)
    num_renewed: int = 0

    def observe(self, job: Job) -> Observed:  # noqa: ARG002  the port gives it
        return Observed(tuple(self.remembered.values()))

    def renew(self, key: Key) -> bool:  # noqa: ARG002  the port gives it
        self.num_renewed += 1
        self.see()
        return True

    def see(self) -> None:
        """Bring the memory up to date, as a watch would."""
        self.remembered = dict(self.attempts)

    def step(self) -> Decision:
        """Reconcile once; the watch is late by one step."""
        before = dict(self.attempts)
        decision = super().step()
        self.remembered = before
        return decision
