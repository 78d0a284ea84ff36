"""Fluent builders of jobs as the operator's core sees them: `job().failed(exit=75).attempt(2).decision()`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from llava_contract.causes import Retry, by_exit_code
from llava_contract.result import CheckpointRef, Progress, StageResult
from llava_contract.run import JobKind, Stage
from llava_contract.v1alpha1.status import (
    AttemptRecord,
    Condition,
    ConditionStatus,
    JobStatus,
    Phase,
    StageState,
    StageStatus,
)
from llava_contract.v1alpha1.trainjob import LlavaTrainJobSpec
from llava_operator.core.decide import decide
from llava_operator.core.decision import Decision, Situation
from llava_operator.core.job import Job, Key
from llava_operator.core.naming import child_name
from llava_operator.core.observe import AttemptState, Observed, ObservedAttempt
from llava_operator.core.plan import plan_job

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = Key(JobKind.TRAIN, "team", "demo")
UID = "0b9a"
STAGES = tuple(Stage)
SHA = "0" * 64

TRAINING: dict[str, Any] = {
    "data": [{"annotations": "/data/a.json", "images": "/data/images"}],
    "epochs": 1,
    "batchSize": 4,
    "accumulation": 1,
    "learningRate": 1e-3,
    "schedule": "cosine",
    "warmupRatio": 0.03,
    "gradientCheckpointing": False,
    "weightDecay": 0.0,
    "maxGradNorm": 1.0,
    "maxLength": 256,
    "padToSquare": True,
    "llm": {"mode": "frozen"},
    "visionTower": {"mode": "frozen"},
    "precision": "fp32",
    "order": "shuffled",
}
SPEC: dict[str, Any] = {
    "model": {
        "llm": {"uri": "/m/llm"},
        "visionTower": {"uri": "/m/tower"},
        "promptTemplate": "vicuna",
        "projectorDepth": 2,
        "visionFeatureLayer": -2,
    },
    "storage": {"uri": "/jobs/demo"},
    "pretrain": TRAINING,
    "finetune": {**TRAINING, "llm": {"mode": "lora", "lora": {"rank": 8, "alpha": 16}}},
    "convert": {},
    "evaluate": {"benchmarks": [{"name": "shapes", "uri": "/data/shapes.tsv"}]},
    "workers": {"gpusPerWorker": 0, "ranksPerWorker": 2},
}


def spec(**changes: Any) -> LlavaTrainJobSpec:
    """Return a complete spec; a change of None leaves the field out."""
    content = {key: value for key, value in {**SPEC, **changes}.items() if value is not None}
    return LlavaTrainJobSpec.model_validate(content)


def commit(step: int) -> CheckpointRef:
    return CheckpointRef(uri=f"/jobs/demo/checkpoints/step-{step}", step=step, manifest_sha256=SHA)


def result(stage: Stage, attempt: int = 1, **changes: Any) -> StageResult:
    return StageResult(stage=stage, attempt=attempt, **{"exit_code": 0, "reason": "Succeeded", **changes})


@dataclass(frozen=True)
class JobBuilder:
    """A job at one stage; earlier stages are done. Each method returns a changed copy."""

    stage: Stage = Stage.FINETUNE
    number: int = 1
    state: StageState = StageState.RUNNING
    phase: Phase = Phase.RUNNING
    seen: ObservedAttempt | None = None
    others: tuple[ObservedAttempt, ...] = ()
    history: tuple[AttemptRecord, ...] = ()
    checkpoint: CheckpointRef | None = None
    budget_used: int = 0
    now: datetime = NOON
    spec_changes: dict[str, Any] = field(default_factory=dict)
    results: dict[str, float] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()

    @property
    def child(self) -> str:
        return child_name(KEY.name, UID, stage=self.stage, attempt=self.number)

    def at(self, stage: Stage) -> JobBuilder:
        return replace(self, stage=stage)

    def attempt(self, number: int) -> JobBuilder:
        seen = self.seen and replace(
            self.seen, attempt=number, child=child_name(KEY.name, UID, stage=self.stage, attempt=number)
        )
        return replace(self, number=number, seen=seen)

    def running(self, *, step: int = 0, told_s_ago: float | None = None) -> JobBuilder:
        progress, time = None, None
        if told_s_ago is not None:
            time = self.now - timedelta(seconds=told_s_ago)
            progress = Progress(stage=self.stage, attempt=self.number, step=step, total_steps=100, time=NOON)
        return replace(self, seen=self._seen(AttemptState.RUNNING, progress=progress, moved_at=time, members=("7",)))

    def unheard(self, why: str = "") -> JobBuilder:
        """Return the job whose progress cannot be asked for (any more)."""
        assert self.seen is not None, "nothing was seen"
        return replace(self, seen=replace(self.seen, moved_at=None, unheard=why))

    def failed(self, exit: int, *, message: str = "", members: tuple[str, ...] = ()) -> JobBuilder:  # noqa: A002
        said = result(self.stage, exit_code=exit, reason="x", message=message) if message else None
        return replace(self, seen=self._seen(AttemptState.FAILED, exit_code=exit, result=said, members=members))

    def succeeded(self, **changes: Any) -> JobBuilder:
        made = result(self.stage, self.number, **changes)
        return replace(self, seen=self._seen(AttemptState.SUCCEEDED, exit_code=0, result=made))

    def gone(self) -> JobBuilder:
        return replace(self, seen=None)

    def named_only(self) -> JobBuilder:
        return replace(self, state=StageState.STARTING, phase=Phase.PENDING, seen=None)

    def pending(self) -> JobBuilder:
        return replace(self, seen=self._seen(AttemptState.PENDING))

    def restarting(self, *, failed_s_ago: float) -> JobBuilder:
        when = self.now - timedelta(seconds=failed_s_ago)
        restarting = Condition(
            type="Restarting", status=ConditionStatus.TRUE, observed_generation=1, last_transition_time=when,
            reason="x", message="",
        )  # fmt: skip
        changed = replace(self, state=StageState.RESTARTING, phase=Phase.RESTARTING, conditions=(restarting,))
        return replace(changed, number=max(1, len(self.history)))

    def after(self, *exits: int, steps: tuple[int | None, ...] | None = None) -> JobBuilder:
        """Return the job whose stage has had attempts that ended with these exit codes, at these checkpoint steps."""
        at = steps or tuple(range(10, 10 + len(exits)))
        records = tuple(
            AttemptRecord(
                attempt=i + 1, exit_code=code, reason=by_exit_code(code).reason, checkpoint_step=step,
                charged=by_exit_code(code).retry is Retry.COUNTED,
            )
            for i, (code, step) in enumerate(zip(exits, at, strict=True))
        )  # fmt: skip
        charged = sum(record.charged for record in records)
        return replace(self, history=records, budget_used=charged).attempt(len(exits) + 1)

    def committed(self, step: int | None) -> JobBuilder:
        return replace(self, checkpoint=None if step is None else commit(step))

    def suspended(self) -> JobBuilder:
        return replace(self, phase=Phase.SUSPENDED, state=StageState.WAITING)

    def waiting(self) -> JobBuilder:
        return replace(self, state=StageState.WAITING, number=0)

    def over(self, phase: Phase) -> JobBuilder:
        state = StageState.FAILED if phase is Phase.FAILED else StageState.SUCCEEDED
        return replace(self, phase=phase, state=state)

    def wanting(self, **changes: Any) -> JobBuilder:
        return replace(self, spec_changes={**self.spec_changes, **changes})

    def scored(self, value: float) -> JobBuilder:
        return replace(self, results={"shapes/vlmevalkit/circular": value})

    def beside(self, child: str, *, members: tuple[str, ...] = ("9",)) -> JobBuilder:
        other = ObservedAttempt(child, Stage.PRETRAIN, 1, state=AttemptState.RUNNING, members=members)
        return replace(self, others=(*self.others, other))

    def _seen(self, state: AttemptState, **evidence: Any) -> ObservedAttempt:
        return ObservedAttempt(self.child, self.stage, self.number, state=state, **evidence)

    def status(self) -> JobStatus:
        index = STAGES.index(self.stage)
        done = [StageStatus(name=stage, state=StageState.SUCCEEDED, attempt=1) for stage in STAGES[:index]]
        here = StageStatus(
            name=self.stage, state=self.state, attempt=self.number, job_name=self.child, start_time=NOON,
            checkpoint=self.checkpoint, history=list(self.history),
        )  # fmt: skip
        later = [StageStatus(name=stage) for stage in STAGES[index + 1 :]]
        return JobStatus(
            phase=self.phase, current_stage=self.stage, stages=[*done, here, *later], budget_used=self.budget_used,
            start_time=NOON, results=self.results, conditions=list(self.conditions),
        )  # fmt: skip

    def build(self) -> Job:
        return Job(KEY, uid=UID, generation=1, spec=spec(**self.spec_changes), status=self.status())

    def observed(self) -> Observed:
        return Observed((*((self.seen,) if self.seen else ()), *self.others))

    def decision(self) -> Decision:
        built = self.build()
        return decide(Situation(plan_job(built), built.status, self.observed(), self.now))


def job() -> JobBuilder:
    """Return a job whose first finetune attempt runs."""
    return JobBuilder()
