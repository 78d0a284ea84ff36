"""What attempts tell of a job by the run.json and result.json in their folders, where nobody kept a job.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from llava_contract.result import Artifact, StageResult
from llava_contract.run import EvaluateTask, ModelParts, RunConfig, Stage, TrainTask
from llava_trainer.report.facts import JobStory, StageLine
from llava_trainer.report.settings import grouped, tuning

__all__ = ["Attempt", "story_of_attempts"]

_UNTOLD: Final = "It left no result: it still runs, or its machine was lost."


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt left behind: how it was asked and how it ended."""

    run: RunConfig | None
    result: StageResult | None

    @property
    def stage(self) -> str:
        """Name of its stage; empty for one that left nothing readable."""
        return self.result.stage if self.result else self.run.stage.value if self.run else ""

    @property
    def number(self) -> int:
        """1 for the first attempt at the stage."""
        return self.result.attempt if self.result else self.run.attempt if self.run else 0

    @property
    def line(self) -> StageLine:
        """Its row in the stage table."""
        if self.result is None:
            return StageLine(self.stage, "No result", self.number, max(self.number - 1, 0), None, None, _UNTOLD)
        seconds, ended_well = self.result.seconds, self.result.exit_code == 0
        state, said = ("Succeeded", "") if ended_well else ("Failed", f"Stage {self.stage}: {self.result.reason}.")
        return StageLine(
            name=self.stage,
            state=state,
            attempt=self.number,
            restarts=self.number - 1,
            import_s=seconds.get("import"),
            work_s=seconds.get("work"),
            message=self.result.message or said,
        )


def story_of_attempts(attempts: Sequence[Attempt]) -> JobStory:
    """Tell of a job by its attempts: the last one of each stage, and every one that left no result."""
    ordered = sorted(attempts, key=lambda attempt: attempt.number)
    last = {attempt.stage: attempt for attempt in ordered}
    shown = [a for stage in Stage for a in ordered if a.stage == stage and (a is last[stage] or a.result is None)]
    failed = next((a.line.message for a in last.values() if a.line.state == "Failed"), "")
    runs = {stage.value: last[stage].run for stage in Stage if stage in last}
    asked = {stage: run for stage, run in runs.items() if run is not None}
    return JobStory(
        name=next((run.job.name for run in asked.values()), ""),
        phase="Failed" if failed else "",
        message=failed,
        facts=tuple(_facts(asked, list(last.values()))),
        stages=tuple(attempt.line for attempt in shown),
        settings=grouped({stage: run.task.model_dump(mode="json", by_alias=True) for stage, run in asked.items()}),
    )


def _facts(asked: Mapping[str, RunConfig], last: Sequence[Attempt]) -> Iterator[tuple[str, str]]:
    tasks = [run.task for run in asked.values()]
    named: dict[str, str | None] = {}
    model = next((task.model for task in tasks if not isinstance(task, EvaluateTask)), None)
    if isinstance(model, ModelParts):
        parts = {"Language model": model.llm, "Vision tower": model.vision_tower}
        named |= {"Model at the start": model.llm} if model.is_whole else parts
        named["Prompt template"] = model.prompt_template
    finetune = asked[Stage.FINETUNE].task if Stage.FINETUNE in asked else None
    if isinstance(finetune, TrainTask):
        named["In finetune, the LLM is"] = tuning(finetune.llm.model_dump(mode="json", exclude_none=True))
        named["In finetune, the tower is"] = tuning(finetune.vision_tower.model_dump(mode="json", exclude_none=True))
    results = [attempt.result for attempt in last if attempt.result]
    named["Trained model"] = next((uri for r in results if (uri := r.artifacts.get(Artifact.HUGGINGFACE.value))), None)
    evaluated = next((task for task in tasks if isinstance(task, EvaluateTask)), None)
    if evaluated and evaluated.model_uri != named["Trained model"]:
        named["Evaluated model"] = evaluated.model_uri
    yield from ((label, value) for label, value in named.items() if value)
