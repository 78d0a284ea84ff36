"""What job.json, which `llava run` keeps, tells of a job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llava_contract.result import Artifact
from llava_contract.v1alpha1.status import JobStatus, Phase, StageState, StageStatus
from llava_trainer.report.facts import JobStory, StageLine
from llava_trainer.report.settings import duration, grouped, tuning

__all__ = ["story_of_job"]


def story_of_job(content: bytes) -> JobStory:
    """Read job.json; any exception of parsing where it is torn or of another shape."""
    job = json.loads(content)
    status, spec = JobStatus.model_validate(job.get("status") or {}), job.get("spec") or {}
    return JobStory(
        name=str(job["name"]),
        phase=status.phase.value,
        message=_failure(status),
        facts=tuple(_facts(spec, status)),
        stages=tuple(map(_stage_line, status.stages)),
        settings=grouped(spec),
    )


def _failure(status: JobStatus) -> str:
    """Say why the job or one of its stages failed; empty where none did."""
    for stage in status.stages:
        if stage.state is StageState.FAILED:
            return stage.message or f"Stage {stage.name} failed."
    if status.phase is not Phase.FAILED:
        return ""
    return next((c.message for c in status.conditions if c.type == "Failed" and c.message), "The job failed.")


def _facts(spec: Mapping[str, Any], status: JobStatus) -> Iterator[tuple[str, str]]:
    model = spec.get("model") or {}
    named = {
        "Recipe": spec.get("recipe"),
        "Language model": (model.get("llm") or {}).get("uri"),
        "Vision tower": (model.get("visionTower") or {}).get("uri"),
        "Prompt template": model.get("promptTemplate"),
        "In finetune, the LLM is": tuning((spec.get("finetune") or {}).get("llm")),
        "In finetune, the tower is": tuning((spec.get("finetune") or {}).get("visionTower")),
        "Evaluated model": status.model.uri if status.model else None,
        "Trained model": status.artifacts.get(Artifact.HUGGINGFACE.value),
        "Restarts": str(status.restarts) if status.stages else None,
    }
    if status.start_time:
        named["Started"] = f"{status.start_time:%Y-%m-%d %H:%M:%S} UTC"
    if status.start_time and status.completion_time:
        named["Took"] = duration((status.completion_time - status.start_time).total_seconds())
    yield from ((label, str(value)) for label, value in named.items() if value)


def _stage_line(stage: StageStatus) -> StageLine:
    seconds = stage.seconds
    return StageLine(
        name=stage.name,
        state=stage.state.value,
        attempt=stage.attempt,
        restarts=stage.restarts,
        import_s=seconds.get("import"),
        work_s=seconds.get("work"),
        message=stage.message,
    )
