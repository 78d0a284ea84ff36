"""Convert: base weights and what training made of them become one folder that other programs load.

Needs one rank, torch and safetensors: neither transformers nor peft nor DeepSpeed is imported, and no whole model is
ever in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import torch

from llava_contract.causes import SUCCEEDED
from llava_contract.result import Artifact, StageResult
from llava_contract.run import ConvertTask, RunConfig
from llava_contract.v1alpha1.conversion import ExportDtype
from llava_contract.v1alpha1.training import TuningMode, TuningSpec
from llava_trainer.checkpoint.restore import read_weights
from llava_trainer.data.template import PromptTemplate, get_template
from llava_trainer.errors import InvalidSpec, WeightsMismatch
from llava_trainer.formats.huggingface.chat import ChatStyle
from llava_trainer.formats.huggingface.folder import Design, write_folder
from llava_trainer.formats.huggingface.keys import from_llm, from_tower
from llava_trainer.formats.huggingface.metadata import Metadata
from llava_trainer.formats.huggingface.parts import Part, open_part_weights
from llava_trainer.formats.llm.folder import as_stored, open_llm
from llava_trainer.model.adapters import fold_trained
from llava_trainer.storage import materialise, open_storage
from llava_trainer.tracking.progress import StageContext

__all__ = ["import_heavy", "run"]

_PLACE: Final = "models/huggingface"
_DTYPES: Final = {ExportDtype.FP32: "float32", ExportDtype.BF16: "bfloat16", ExportDtype.FP16: "float16"}


def import_heavy(config: RunConfig) -> None:
    """Nothing more than this module imports: torch."""


def run(config: RunConfig, context: StageContext) -> StageResult:
    """Merge the last checkpoint into the base weights and export; the folder is complete or absent.

    A finetune starts from its pretrain's projector and saves it again: its own checkpoint holds all that was trained.
    """
    task = config.task
    assert isinstance(task, ConvertTask)
    if not task.checkpoints:
        raise InvalidSpec("convert: there is no checkpoint to convert; add a pretrain or finetune stage.")
    storage, server = open_storage(config.storage), task.model.storage or config.storage
    llm, tower = (materialise(uri, server) for uri in (task.model.llm, task.model.vision_tower))
    running = read_weights(storage, task.checkpoints[-1])
    trained = dict(as_stored(running.items(), model_type=str(open_llm(llm).config["model_type"])))
    _require_adapters(trained, {"llm": task.llm, "vision_tower": task.vision_tower})
    scaling = {"llm": _scaling(task.llm), "vision_tower": _scaling(task.vision_tower)}
    merged = fold_trained(_base(llm, tower, trained), trained, scaling=scaling)
    tower_files = open_part_weights(tower, Part.TOWER)
    with storage.new_folder(_PLACE) as draft:
        counted = _counted(merged, context, total=len(open_llm(llm).weights.names) + len(tower_files.names))
        write_folder(draft, counted, design=_design(task, llm, tower), metadata=_metadata(task, config.job.name))
    return StageResult(
        stage=config.stage.value,
        attempt=config.attempt,
        exit_code=SUCCEEDED.exit_code,
        reason=SUCCEEDED.reason,
        artifacts={Artifact.HUGGINGFACE.value: storage.uri_of(_PLACE)},
    )


def _base(llm: Path, tower: Path, trained: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """Give the base weights under our model's names; a projector has no base but what was trained."""
    for folder, rename in ((open_llm(llm), from_llm), (open_part_weights(tower, Part.TOWER), from_tower)):
        for stored_name, tensor in folder.stream():
            name = rename(stored_name)
            if name is not None:
                yield name, tensor
    yield from ((name, tensor) for name, tensor in trained.items() if name.startswith("projector."))


def _require_adapters(trained: Mapping[str, torch.Tensor], tuning: Mapping[str, TuningSpec]) -> None:
    """Refuse a checkpoint without the adapters that the task speaks of: it would export the untrained model."""
    for part, spec in tuning.items():
        is_adapted = any(name.startswith(f"{part}.") and ".lora_A." in name for name in trained)
        if is_adapted != (spec.mode in (TuningMode.LORA, TuningMode.QLORA)):
            holds = "adapters" if is_adapted else "no adapters"
            raise WeightsMismatch(
                f"{part}: the checkpoint holds {holds}, but its mode is {spec.mode.value}; "
                "give the checkpoint of this job."
            )


def _scaling(spec: TuningSpec) -> float:
    return spec.lora.alpha / spec.lora.rank if spec.lora else 0.0


def _counted(
    tensors: Iterator[tuple[str, torch.Tensor]], context: StageContext, *, total: int
) -> Iterator[tuple[str, torch.Tensor]]:
    for number, item in enumerate(tensors, start=1):
        yield item
        context.progress.report(min(number, total), total, unit="tensors")


def _design(task: ConvertTask, llm: Path, tower: Path) -> Design:
    template = get_template(task.model.prompt_template)
    return Design(
        llm_folder=llm,
        tower_folder=tower,
        num_rows=open_llm(llm).num_rows,
        style=_style(template),
        stop_words=template.must_be_pieces,
        feature_layer=task.model.vision_feature_layer,
        projector_depth=task.model.projector_depth,
        dtype=_DTYPES[task.dtype],
    )


def _style(template: PromptTemplate) -> ChatStyle:
    return ChatStyle(
        instruction=template.instruction,
        system=template.system,
        suffix=template.suffix,
        separator=template.separator,
        suffix_is_eos=template.suffix_is_eos,
    )


def _metadata(task: ConvertTask, job: str) -> Metadata:
    return Metadata(
        prompt_template=task.model.prompt_template,
        pad_to_square=task.pad_to_square,
        llm=task.model.llm,
        vision_tower=task.model.vision_tower,
        llm_mode=task.llm.mode.value,
        vision_tower_mode=task.vision_tower.mode.value,
        job=job,
    )
