"""Where in a job's storage the facts of a report lie, and how each is read; what is not there is left out.

With `llava run` job.json tells of the stages; on a cluster, where the operator keeps that to itself, results of
attempts do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llava_contract.result import Artifact, StageResult
from llava_contract.v1alpha1.status import JobStatus, StageStatus
from llava_trainer.data.audit import Audit
from llava_trainer.report.facts import Curve, Report, ScoreLine, ScoreTable, StageAudit, StageLine
from llava_trainer.report.samples import read_samples
from llava_trainer.storage import Storage
from llava_trainer.tracking.history import read_history

__all__ = ["collect"]

_STAGES: Final = ("prepare", "pretrain", "finetune", "convert", "evaluate")
_TRAINING: Final = ("pretrain", "finetune")


def collect(storage: Storage) -> Report:
    """Gather a report from a job's storage, however far the job came.

    Raises StorageForbidden or Infrastructure when the storage will not say.
    """
    job = _json(storage, "job.json") or {}
    status = JobStatus.model_validate(job.get("status") or {})
    spec = job.get("spec") or {}
    failed = next((stage.message for stage in status.stages if stage.state == "Failed"), "")
    return Report(
        name=job.get("name") or "LLaVA model",
        phase=status.phase.value if job else "",
        message=failed,
        facts=tuple(_facts(spec, status)),
        scores=tuple(_score_table(found) for found in _json(storage, "evaluations/scores.json") or ()),
        stages=tuple(map(_stage_line, status.stages)) or tuple(_lines_of_attempts(storage)),
        curves=tuple(_curves(storage)),
        audits=tuple(
            StageAudit(stage, Audit.from_json(json.dumps(found)))
            for stage, found in (_json(storage, "reports/audit.json") or {}).items()
        ),
        samples=read_samples(storage),
        settings=tuple(_flat(spec)),
    )


def _json(storage: Storage, path: str) -> Any:
    return json.loads(storage.read(path)) if storage.exists(path) else None


def _facts(spec: Mapping[str, Any], status: JobStatus) -> Iterator[tuple[str, str]]:
    model = spec.get("model") or {}
    named = {
        "Recipe": spec.get("recipe"),
        "Language model": (model.get("llm") or {}).get("uri"),
        "Vision tower": (model.get("visionTower") or {}).get("uri"),
        "Prompt template": model.get("promptTemplate"),
        "In finetune, the LLM is": _tuning((spec.get("finetune") or {}).get("llm")),
        "In finetune, the tower is": _tuning((spec.get("finetune") or {}).get("visionTower")),
        "Trained model": status.artifacts.get(Artifact.HUGGINGFACE.value),
        "Restarts": str(status.restarts) if status.stages else None,
    }
    if status.start_time:
        named["Started"] = f"{status.start_time:%Y-%m-%d %H:%M:%S} UTC"
    if status.start_time and status.completion_time:
        named["Took"] = duration((status.completion_time - status.start_time).total_seconds())
    yield from ((label, value) for label, value in named.items() if value)


def _tuning(tuning: Mapping[str, Any] | None) -> str | None:
    if not tuning:
        return None
    lora = tuning.get("lora") or {}
    words = {"frozen": "frozen", "full": "trained in full", "lora": "adapted by LoRA", "qlora": "adapted by QLoRA"}
    rank = f", rank {lora['rank']}" if "rank" in lora else ""
    return words.get(tuning["mode"], str(tuning["mode"])) + rank


def duration(seconds: float) -> str:
    """Write a duration as people say it: 3.4 s, 2 min 05 s, 4 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


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


def _lines_of_attempts(storage: Storage) -> Iterator[StageLine]:
    """The last attempt of each stage, from what attempts left behind."""
    results = [
        StageResult.model_validate_json(storage.read(item.path))
        for item in storage.list("attempts")
        if item.path.endswith("/result.json")
    ]
    last = {result.stage: result for result in sorted(results, key=lambda result: result.attempt)}
    for name in _STAGES:
        if result := last.get(name):
            state = "Succeeded" if result.exit_code == 0 else "Failed"
            seconds = result.seconds.get("import"), result.seconds.get("work")
            yield StageLine(name, state, result.attempt, result.attempt - 1, *seconds, result.message)


def _curves(storage: Storage) -> Iterator[Curve]:
    for stage in _TRAINING:
        if rows := read_history(storage, stage):
            yield Curve(stage, tuple(rows))


def _score_table(found: Mapping[str, Any]) -> ScoreTable:
    """Read what ScoreReport.to_json writes."""
    rules: Mapping[str, Any] = found["rules"]
    overall = tuple(
        ScoreLine(label, tuple(rule[key] for rule in rules.values()))
        for label, key in (("Right in all rotations", "circular"), ("Single rows", "vanilla"))
    )
    sections = [("Overall", overall)]
    for title, key in (("By ability", "l2_category"), ("By category", "category")):
        names = list(dict.fromkeys(name for rule in rules.values() for name in rule[key]))
        lines = (ScoreLine(name, tuple(rule[key].get(name, 0.0) for rule in rules.values())) for name in names)
        sections.append((title, tuple(lines)))
    count = found["na_options"]["count"]
    return ScoreTable(
        benchmark=found["benchmark"],
        num_rows=found["rows"],
        num_questions=found["questions"],
        rules=tuple(f"{name} {rule['version']}" for name, rule in rules.items()),
        sections=tuple(section for section in sections if section[1]),
        note=f'{count} options read like a missing value ("None", "NA", ...) and were kept.' if count else "",
    )


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every setting that has a value, by its dotted name."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{name}.")
        elif isinstance(inner, list) and inner and isinstance(inner[0], Mapping):
            for number, item in enumerate(inner):
                yield from _flat(item, f"{prefix}{name}[{number}].")
        elif inner not in (None, [], {}):
            text = ", ".join(map(str, inner)) if isinstance(inner, list) else str(inner)
            yield f"{prefix}{name}", text
