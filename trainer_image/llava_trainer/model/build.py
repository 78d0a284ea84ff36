"""How a training task becomes a model: which parts are frozen, quantised or adapted, and how trained state gets in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from llava_contract.families import LLMS
from llava_contract.run import TrainTask
from llava_contract.v1alpha1.training import TuningMode, TuningSpec
from llava_trainer.errors import InvalidSpec, Unsupported, WeightsMismatch
from llava_trainer.model.adapters import add_adapters
from llava_trainer.model.llava import Llava
from llava_trainer.model.llm import Llm, load_llm
from llava_trainer.model.projector import Projector
from llava_trainer.model.quantise import round_to_nf4
from llava_trainer.model.recompute import recompute_layers
from llava_trainer.model.vision import TOWER_LINEARS, VisionTower, load_tower
from llava_trainer.weights.soundness import name_some, require_numbers

__all__ = ["build_model", "load_trained"]


def build_model(
    task: TrainTask, *, tower_folder: Path, llm_folder: Path, dtype: torch.dtype, device: torch.device
) -> Llava:
    """Load the parts, ready to train as the task says; everything is `dtype`, new weights depend on the seed only.

    Raises what `load_tower` and `load_llm` raise, and InvalidSpec for a tuning that does not fit its part.
    """
    tower = load_tower(tower_folder, feature_layer=task.model.vision_feature_layer, dtype=dtype)
    llm = load_llm(llm_folder, dtype=dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        projector = Projector(tower.width, llm.width, depth=task.model.projector_depth).to(dtype)
        _tune_llm(llm, task.llm)
        _tune_tower(tower, task.vision_tower)
    llm.use_packed_attention()
    if task.gradient_checkpointing:
        recompute_layers(llm.model)
        if task.vision_tower.mode is not TuningMode.FROZEN:  # a frozen one keeps nothing for a backward pass
            recompute_layers(tower.model)
    model = Llava(vision_tower=tower, projector=projector, llm=llm)
    model.to(device)
    return model


def load_trained(model: Llava, tensors: Mapping[str, torch.Tensor], *, only: str | None = None) -> None:
    """Copy trained tensors into the model's trainable parameters of the same names.

    only: look at names that begin so (`projector.`) and leave the others. WeightsMismatch when a name or a shape has no
    counterpart, on either side; BadData when a tensor holds NaN.
    """
    prefix = only or ""
    given = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    wanted = {name: parameter for name, parameter in model.trainable().items() if name.startswith(prefix)}
    wrong = sorted(given.keys() ^ wanted.keys())
    wrong += [
        f"{name} is {tuple(given[name].shape)}, not {tuple(parameter.shape)}"
        for name, parameter in wanted.items()
        if name in given and given[name].shape != parameter.shape
    ]
    if wrong:
        raise WeightsMismatch(
            f"{len(wrong)} trained tensors and parameters do not match ({name_some(wrong)}); use a checkpoint of "
            "the same model and tuning."
        )
    require_numbers("trained weights", given.items())
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(given[name])


def _tune_llm(llm: Llm, spec: TuningSpec) -> None:
    llm.requires_grad_(spec.mode is TuningMode.FULL)
    if spec.mode in (TuningMode.LORA, TuningMode.QLORA):
        linears = {name: part for name, part in llm.model.named_modules() if isinstance(part, nn.Linear)}
        if spec.mode is TuningMode.QLORA:
            _require_linear_experts(llm)
            round_to_nf4(list(linears.values()))
        _adapt(llm.model, list(linears), spec, part="llm")


def _require_linear_experts(llm: Llm) -> None:
    family = LLMS[llm.config.model_type]
    if family.fuses_experts:
        raise Unsupported(
            f"llm.mode: qlora: the experts of {family.models}, nearly all of it, are no linear layers that 4 bits "
            "could hold; choose lora (of its attention), full or frozen."
        )


def _tune_tower(tower: VisionTower, spec: TuningSpec) -> None:
    """Only what the features depend on is trained: the rest would have no gradient."""
    tower.requires_grad_(False)
    match spec.mode:
        case TuningMode.FROZEN:
            pass
        case TuningMode.FULL:
            for parameter in tower.used_parameters():
                parameter.requires_grad_(True)
        case TuningMode.LORA:
            layers = tower.used_layers().named_modules(prefix="encoder.layers")
            names = [name for name, _ in layers if name.rsplit(".", 1)[-1] in TOWER_LINEARS]
            _adapt(tower.model, names, spec, part="visionTower")
        case TuningMode.QLORA:
            raise InvalidSpec("visionTower.mode: qlora is for the LLM only; choose frozen, lora or full.")


def _adapt(module: nn.Module, linears: list[str], spec: TuningSpec, *, part: str) -> None:
    if spec.lora is None:
        raise InvalidSpec(f"{part}.lora: mode {spec.mode.value} needs rank and alpha; write them down.")
    add_adapters(module, linears, settings=spec.lora)
