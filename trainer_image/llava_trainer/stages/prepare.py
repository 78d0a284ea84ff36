"""How data are prepared: check all that the job will read, walk the rows once, write the sets, judge the audit.

Nothing here needs torch or a GPU, and nothing after it starts before it has passed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from llava_contract.causes import SUCCEEDED
from llava_contract.result import Artifact, StageResult
from llava_contract.run import ModelParts, PreparedSetConfig, PrepareTask, RunConfig, Stage, StorageTarget
from llava_contract.v1alpha1.data import DataSource
from llava_contract.v1alpha1.evaluation import BenchmarkSource
from llava_trainer.data.audit import Audit, Source
from llava_trainer.data.images import ImageSettings
from llava_trainer.data.layout import find_published
from llava_trainer.data.prepared import NothingToTrainOn, PreparedSet, RowSet, prepare_set
from llava_trainer.data.sample import Wording
from llava_trainer.data.shards import Place
from llava_trainer.data.template import PromptTemplate, get_template
from llava_trainer.data.tokenizer import Tokenizer
from llava_trainer.errors import BadData, InvalidSpec, naming
from llava_trainer.model.preflight import check_llm, check_tower, check_whole, widths_of
from llava_trainer.scoring.benchmark import read_benchmark
from llava_trainer.stages.sample_images import open_sample_images
from llava_trainer.storage import Storage, materialise, open_storage
from llava_trainer.tracking.progress import StageContext

__all__ = ["AUDIT_PATH", "import_heavy", "run"]

AUDIT_PATH: Final = "reports/audit.json"
_LOG: Final = logging.getLogger(__name__)
_DATA: Final = {Stage.PRETRAIN: Artifact.PRETRAIN_DATA, Stage.FINETUNE: Artifact.FINETUNE_DATA}
_WHOLE: Final = "spec.model.from"
_MIN_FREE_BYTES: Final = 64 << 20  # less than this holds no prepared set worth training on


def import_heavy(config: RunConfig) -> None:
    """Nothing heavy is needed; numpy and pyarrow came with this module."""


@dataclass(frozen=True)
class Parts:
    """The folders of the model's parts on this machine, and its words."""

    llm: Path
    tower: Path
    tokenizer: Tokenizer


@dataclass(frozen=True)
class Rows:
    """The rows of one stage and how they are written down."""

    sources: list[Source]
    wanted: PreparedSetConfig
    template: PromptTemplate


def run(config: RunConfig, context: StageContext) -> StageResult:
    """Prepare every set of the job.

    Raises MissingInput, WrongTemplate or BadData before anything is written, and BadData, naming file and row, or
    InvalidSpec for a batch larger than its data, after every set has been audited and the audit stored.
    """
    task = config.task
    assert isinstance(task, PrepareTask), f"stage {config.stage} with a task of kind {task.kind}"
    storage = open_storage(config.storage)
    storage.require_writable()
    storage.require_space(_MIN_FREE_BYTES)
    parts = _check_model(task.model, config.storage)
    _check_projector(task, parts, config, storage)
    _check_benchmarks(task.benchmarks, config.storage)
    for wanted in task.sets:
        # A GPU should not find that a picture is missing.
        deque(open_sample_images(wanted.sample_images, wanted.stage, server=config.storage), maxlen=0)
    sources = {wanted.stage: _find_sources(wanted, config.storage) for wanted in task.sets}
    prepared: dict[Stage, PreparedSet] = {}
    audits: dict[Stage, Audit] = {}
    try:
        for wanted in task.sets:
            rows = Rows(sources[wanted.stage], wanted, get_template(task.model.prompt_template))
            made = _prepare(rows, parts, audits=audits, storage=storage, context=context)
            prepared[wanted.stage] = made
    finally:
        _store_audits(storage, audits)
    for found in audits.values():
        found.require(on_bad_row=task.on_bad_row, max_bad_fraction=task.max_bad_fraction)
    for wanted in task.sets:
        _require_a_batch(wanted, prepared[wanted.stage])
    artifacts = {_DATA[stage].value: _store_set(storage, stage, made) for stage, made in prepared.items()}
    num_rows = sum(found.num_rows for found in audits.values())
    return StageResult(
        stage=config.stage,
        attempt=config.attempt,
        exit_code=SUCCEEDED.exit_code,
        reason=SUCCEEDED.reason,
        message=" ".join(_summary(stage, made) for stage, made in prepared.items()),
        step=num_rows,
        total_steps=num_rows,
        artifacts={**artifacts, Artifact.AUDIT.value: storage.uri_of(AUDIT_PATH)},
    )


def _check_model(model: ModelParts, server: StorageTarget) -> Parts:
    """Find both folders with all that training will want of them, and a template that fits."""
    server = model.storage or server
    if model.is_whole:
        with naming(_WHOLE):
            check_whole(materialise(model.llm, server), model)
    with naming(_WHOLE if model.is_whole else "spec.model.llm.uri"):
        llm = materialise(model.llm, server)
        tokenizer = Tokenizer(llm)
        check_llm(llm, num_pieces=len(tokenizer))
    with naming(_WHOLE if model.is_whole else "spec.model.visionTower.uri"):
        tower = materialise(model.vision_tower, server)
        image_size = ImageSettings.from_folder(tower, pad_to_square=True).size
        check_tower(tower, feature_layer=model.vision_feature_layer, image_size=image_size)
    get_template(model.prompt_template).check(tokenizer)
    return Parts(llm, tower, tokenizer)


def _check_projector(task: PrepareTask, parts: Parts, config: RunConfig, storage: Storage) -> None:
    """Look at the projector that training will start from: no GPU should be asked for one that does not fit."""
    if task.pretrained_projector is None:
        return
    from llava_trainer.stages.projector import ProjectorPlace, check_projector  # noqa: PLC0415  (torch, for few jobs)

    model = task.model
    server = model.storage if model.is_whole and model.storage else config.storage
    with naming(_WHOLE if model.is_whole else "spec.finetune.pretrainedProjector"):
        place = ProjectorPlace(task.pretrained_projector, storage, server)
        check_projector(place, widths=widths_of(parts.llm, parts.tower), depth=model.projector_depth)


def _found(uri: str, field: str, *, server: StorageTarget) -> Path:
    with naming(field):
        return materialise(uri, server)


def _check_benchmarks(benchmarks: list[BenchmarkSource], server: StorageTarget) -> None:
    """Read what the evaluation will ask, pictures included: a broken file must not be found after the training."""
    for number, benchmark in enumerate(benchmarks):
        file = _found(benchmark.uri, f"spec.evaluate.benchmarks[{number}].uri", server=server)
        read_benchmark(file).check_images()


def _prepare(
    rows: Rows, parts: Parts, *, audits: dict[Stage, Audit], storage: Storage, context: StageContext
) -> PreparedSet:
    """Write one set, or find it, and note its audit; a set without a single good row still leaves its audit behind."""
    stage = rows.wanted.stage
    try:
        made = prepare_set(
            RowSet(rows.sources, rows.wanted.held_out),
            Wording(rows.template, parts.tokenizer, rows.wanted.max_length),
            settings=ImageSettings.from_folder(parts.tower, pad_to_square=rows.wanted.pad_to_square),
            folder=Place("data", storage),
            progress=_teller(context),
        )
    except NothingToTrainOn as nothing:
        audits[stage] = nothing.audit
        raise BadData(f"spec.{stage}.data: {nothing}") from nothing
    audits[stage] = made.audit
    _LOG.info("%s", _summary(stage, made))
    return made


def _require_a_batch(wanted: PreparedSetConfig, made: PreparedSet) -> None:
    """Refuse what would fill its only step with the same rows again, or hold out nothing."""
    if made.held_out and not made.num_held_out:
        raise InvalidSpec(
            f"spec.{wanted.stage}.validation.fraction: {wanted.held_out:g} of {made.num_samples:,} samples holds out "
            "none; raise it, or leave validation out."
        )
    if wanted.global_batch > made.num_samples:
        raise InvalidSpec(
            f"spec.{wanted.stage}.batchSize: batchSize x accumulation x ranks is {wanted.global_batch:,}, more than "
            f"the {made.num_samples:,} samples of spec.{wanted.stage}.data; lower batchSize or accumulation."
        )


def _teller(context: StageContext) -> Callable[[int, int], None]:
    return lambda done, total: context.progress.report(done, total, unit="rows")


def _find_sources(wanted: PreparedSetConfig, server: StorageTarget) -> list[Source]:
    """Find annotation files and image folders; MissingInput and BadData name the field."""
    return [
        _source(f"spec.{wanted.stage}.data[{number}]", source, stage=wanted.stage, server=server)
        for number, source in enumerate(wanted.data)
    ]


def _source(field: str, source: DataSource, *, stage: Stage, server: StorageTarget) -> Source:
    if source.layout is not None and source.root is not None:
        with naming(f"{field}.root"):
            found = find_published(source.layout, stage, root=source.root, fetch=partial(materialise, server=server))
        return replace(found, weight=source.weight)
    assert source.annotations is not None, f"{field}: neither annotations nor layout"
    images = _found(source.images, f"{field}.images", server=server) if source.images else None
    annotations = _found(source.annotations, f"{field}.annotations", server=server)
    if not annotations.is_file():
        raise BadData(f"{field}.annotations: {annotations} is a folder; give the annotation file itself.")
    if images is not None and not images.is_dir():
        raise BadData(f"{field}.images: {images} is no folder; give the one that image paths start from.")
    return Source(annotations, images, source.weight)


def _store_audits(storage: Storage, audits: dict[Stage, Audit]) -> None:
    by_stage = {stage.value: json.loads(found.to_json()) for stage, found in audits.items()}
    storage.write(AUDIT_PATH, json.dumps(by_stage, ensure_ascii=False, indent=1).encode())


def _store_set(storage: Storage, stage: Stage, made: PreparedSet) -> str:
    """Write which two halves make the set, under a name made of theirs; give its URI."""
    halves = {
        "images": storage.uri_of(made.images),
        "tokens": storage.uri_of(made.tokens),
        **({"held_out": storage.uri_of(made.held_out)} if made.held_out else {}),
        "num_samples": made.num_samples,
    }
    content = json.dumps(halves, sort_keys=True).encode()
    path = f"data/sets/{stage.value}-{hashlib.sha256(content).hexdigest()[:16]}.json"
    storage.write(path, content)
    return storage.uri_of(path)


def _summary(stage: Stage, made: PreparedSet) -> str:
    found = made.audit
    counts = f"{stage}: {found.num_kept:,} of {found.num_rows:,} rows kept"
    counts += f", {len(found.bad_rows):,} quarantined" if found.bad_rows else ""
    counts += f", {len(found.dropped):,} without a label" if found.dropped else ""
    counts += f", {made.num_held_out:,} held out" if made.held_out else ""
    if made.reused_tokens:
        return f"{counts}, all reused."
    return f"{counts}, images reused." if made.reused_images else f"{counts}."
