"""Where in a job's storage the facts of a report lie; what is not there is left out, what is torn is named.

With `llava run` job.json tells of the stages; on a cluster, where the operator keeps that to itself, the files of
attempts do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar

from llava_contract.result import StageResult
from llava_contract.run import RunConfig
from llava_trainer.data.audit import Audit
from llava_trainer.report.attempts import Attempt, story_of_attempts
from llava_trainer.report.facts import Curve, Report, ScoreLine, ScoreTable, StageAudit, Unread
from llava_trainer.report.jobfile import story_of_job
from llava_trainer.report.samples import read_samples
from llava_trainer.storage import Storage
from llava_trainer.tracking.history import History
from llava_trainer.tracking.told_answers import ToldAnswer, ToldAnswers
from llava_trainer.tracking.validations import Validation, Validations

__all__ = ["collect"]

_TRAINING: Final = ("pretrain", "finetune")
_MAX_REASON: Final = 200
"""Characters of why a file cannot be read: pydantic and servers can say a page."""

T = TypeVar("T")


@dataclass
class _Sources:
    """Reads one source after another and remembers which of them could not be read."""

    storage: Storage
    unread: list[Unread] = field(default_factory=list)

    def attempt(self, path: str, read: Callable[[], T]) -> T | None:
        """Give what `read` gives, or None, whatever it trips over."""
        try:
            return read()
        except Exception as error:  # noqa: BLE001  a torn file may raise anything, and the rest is still worth a page
            said = " ".join(str(error).split()) or type(error).__name__
            self.unread.append(Unread(path, said[:_MAX_REASON]))
            return None

    def file(self, path: str, parse: Callable[[bytes], T]) -> T | None:
        """Parse a file; None where it is not there or cannot be read."""
        return self.attempt(path, lambda: parse(self.storage.read(path)) if self.storage.exists(path) else None)


def collect(storage: Storage) -> Report:
    """Gather a report from a job's storage, however far the job came.

    Raises nothing: a source that cannot be read is left out and named in `unread`.
    """
    sources = _Sources(storage)
    story = sources.file("job.json", story_of_job) or story_of_attempts(list(_attempts(sources)))
    return Report(
        name=story.name or "LLaVA model",
        phase=story.phase,
        message=story.message,
        facts=story.facts or _facts_of_export(sources),
        scores=tuple(_score_tables(sources)),
        stages=story.stages,
        curves=tuple(_curves(sources)),
        audits=tuple(_audits(sources)),
        samples=sources.attempt("evaluations/samples.json", partial(read_samples, storage)) or (),
        settings=story.settings,
        unread=tuple(sources.unread),
    )


def _attempts(sources: _Sources) -> Iterator[Attempt]:
    listed = sources.attempt("attempts", lambda: sources.storage.list("attempts")) or []
    paths = {item.path for item in listed if item.path.endswith(("/run.json", "/result.json"))}
    for folder in sorted({path.rpartition("/")[0] for path in paths}):
        run = sources.file(f"{folder}/run.json", RunConfig.model_validate_json)
        result = sources.file(f"{folder}/result.json", StageResult.model_validate_json)
        yield Attempt(run, result)


def _facts_of_export(sources: _Sources) -> tuple[tuple[str, str], ...]:
    """What the exported model says of itself, where neither a job nor an attempt tells."""
    labels = {"llm": "Language model", "vision_tower": "Vision tower", "prompt_template": "Prompt template"}

    def parse(content: bytes) -> tuple[tuple[str, str], ...]:
        found = json.loads(content)
        return tuple((label, str(found[key])) for key, label in labels.items() if found.get(key))

    return sources.file("models/huggingface/llava.json", parse) or ()


def _curves(sources: _Sources) -> Iterator[Curve]:
    for stage in _TRAINING:
        path = f"logs/{stage}-history.jsonl"
        if curve := sources.attempt(path, partial(_curve, sources.storage, stage)):
            held_out = sources.attempt(f"logs/{stage}-validation.jsonl", partial(_validations, sources.storage, stage))
            told = sources.attempt(f"logs/{stage}-answers.jsonl", partial(_told, sources.storage, stage))
            yield replace(curve, validations=held_out or (), told=told or ())


def _curve(storage: Storage, stage: str) -> Curve | None:
    rows = tuple(History.read(storage, stage))
    for row in rows:
        # TypeError for what is no number.
        math.fsum((row.step, row.loss, row.seconds, row.num_labels, *row.by_source.values()))
    return Curve(stage, rows) if rows else None


def _validations(storage: Storage, stage: str) -> tuple[Validation, ...]:
    rows = tuple(Validations.read(storage, stage))
    math.fsum(number for row in rows for number in (row.step, row.loss))
    return rows


def _told(storage: Storage, stage: str) -> tuple[ToldAnswer, ...]:
    rows = tuple(ToldAnswers.read(storage, stage))
    math.fsum(row.step for row in rows)
    "".join(text for row in rows for text in (row.prompt, row.image, row.answer))  # TypeError for what is no text
    return rows


def _audits(sources: _Sources) -> Iterator[StageAudit]:
    path = "reports/audit.json"
    found = sources.file(path, lambda content: tuple(json.loads(content).items()))
    for stage, audit in found or ():
        if read := sources.attempt(f"{path} ({stage})", partial(_audit, stage, audit)):
            yield read


def _audit(stage: str, found: Mapping[str, Any]) -> StageAudit:
    audit = Audit.from_json(json.dumps(found))
    math.fsum((audit.num_rows, audit.num_kept, *(count for _, count in audit.oddities)))
    return StageAudit(stage, audit)


def _score_tables(sources: _Sources) -> Iterator[ScoreTable]:
    path = "evaluations/scores.json"
    found = sources.file(path, lambda content: tuple(enumerate(json.loads(content))))
    for number, table in found or ():
        if read := sources.attempt(f"{path} ({number + 1})", partial(_score_table, table)):
            yield read


def _score_table(found: Mapping[str, Any]) -> ScoreTable:
    """Read what ScoreReport.to_json writes."""
    rules: Mapping[str, Any] = found["rules"]
    overall = tuple(
        ScoreLine(label, tuple(float(rule[key]) for rule in rules.values()))
        for label, key in (("Right in all rotations", "circular"), ("Single rows", "vanilla"))
    )
    sections = [("Overall", overall)]
    for title, key in (("By ability", "l2_category"), ("By category", "category")):
        names = list(dict.fromkeys(name for rule in rules.values() for name in rule[key]))
        lines = (ScoreLine(name, tuple(float(rule[key].get(name, 0.0)) for rule in rules.values())) for name in names)
        sections.append((title, tuple(lines)))
    count = found["na_options"]["count"]
    return ScoreTable(
        benchmark=str(found["benchmark"]),
        num_rows=int(found["rows"]),
        num_questions=int(found["questions"]),
        rules=tuple(f"{name} {rule['version']}" for name, rule in rules.items()),
        sections=tuple(section for section in sections if section[1]),
        note=f'{count} options read like a missing value ("None", "NA", ...) and were kept.' if count else "",
    )
