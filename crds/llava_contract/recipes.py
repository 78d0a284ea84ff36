"""How a recipe and what the user wrote become one complete spec: the user wins, then the recipe, then defaults.

A published recipe is one training stage; a job recipe is a short name for a published finetune, the pretrain that its
`pretrained_pth` points to, and the export.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from pydantic import ValidationError

from llava_contract.problems import InvalidJob, Problem
from llava_contract.published import PUBLISHED, Adapter, Recipe
from llava_contract.run import Stage
from llava_contract.v1alpha1.trainjob import LlavaTrainJobSpec

__all__ = ["JOB_RECIPES", "JobRecipe", "effective", "get", "names", "stages_of"]

_TRAINING: Final = (Stage.PRETRAIN, Stage.FINETUNE)
_ADAPTER_MODES: Final = ("lora", "qlora")
_FROZEN: Final = {"mode": "frozen"}

_MODEL_DEFAULTS: Final[dict[str, Any]] = {"projectorDepth": 2, "visionFeatureLayer": -2}
_STAGE_DEFAULTS: Final[dict[str, Any]] = {
    "accumulation": 1,
    "schedule": "cosine",
    "warmupRatio": 0.03,
    "weightDecay": 0.0,
    "maxGradNorm": 1.0,
    "maxLength": 2048 - 576,
    "precision": "bf16",
    "order": "shuffled",
    "gradientCheckpointing": False,
    "visionTower": _FROZEN,
}
_DEFAULTS: Final[dict[Stage, dict[str, Any]]] = {
    Stage.PRETRAIN: {**_STAGE_DEFAULTS, "padToSquare": False, "llm": _FROZEN},
    Stage.FINETUNE: {**_STAGE_DEFAULTS, "padToSquare": True},
}
_SAVE_EVERY_STEPS: Final = 500


@dataclass(frozen=True)
class JobRecipe:
    """A short name for two published stages that belong together."""

    name: str
    pretrain: Recipe
    finetune: Recipe


def _job_recipe(name: str, finetune: str) -> JobRecipe:
    second = PUBLISHED[finetune]
    assert second.starts_from is not None, finetune
    return JobRecipe(name, PUBLISHED[second.starts_from], second)


_CLIP: Final = "clip_vit_large_p14_336"
JOB_RECIPES: Final = {
    name: _job_recipe(name, finetune)
    for name, finetune in (
        ("internlm2-1.8b-qlora", f"llava_internlm2_chat_1_8b_qlora_{_CLIP}_lora_e1_gpu8_finetune"),
        ("internlm2-7b-qlora", f"llava_internlm2_chat_7b_qlora_{_CLIP}_lora_e1_gpu8_finetune"),
        ("internlm2-7b-full", f"llava_internlm2_chat_7b_{_CLIP}_e1_gpu8_finetune"),
        ("internlm2-20b-qlora", f"llava_internlm2_chat_20b_qlora_{_CLIP}_lora_e1_gpu8_finetune"),
        ("internlm2-20b-full", f"llava_internlm2_chat_20b_{_CLIP}_e1_gpu8_finetune"),
        ("internlm-7b-qlora", f"llava_internlm_chat_7b_qlora_{_CLIP}_lora_e1_gpu8_finetune"),
        ("llama3-8b-full", f"llava_llama3_8b_instruct_full_{_CLIP}_e1_gpu8_finetune"),
        ("llama3-8b-full-lora-tower", f"llava_llama3_8b_instruct_full_{_CLIP}_lora_e1_gpu8_finetune"),
        ("llama3-8b-internvl", f"llava_llama3_8b_instruct_full_{_CLIP}_lora_e1_gpu8_internvl_finetune"),
        ("llama3-8b-qlora-1gpu", f"llava_llama3_8b_instruct_qlora_{_CLIP}_e1_gpu1_finetune"),
        ("llava-v1.5-7b-full", "llava_v15_7b_finetune"),
        ("llava-v1.5-7b-lora", "llava_v15_7b_finetune_lora"),
        ("llava-v1.5-13b-full", "llava_v15_13b_finetune"),
        ("llava-v1.5-13b-lora", "llava_v15_13b_finetune_lora"),
        ("phi3-mini-full", f"llava_phi3_mini_4k_instruct_full_{_CLIP}_e1_gpu8_finetune"),
        ("phi3-mini-internvl", f"llava_phi3_mini_4k_instruct_full_{_CLIP}_full_e2_gpu8_internvl_finetune"),
        ("vicuna-7b-qlora", f"llava_vicuna_7b_v15_qlora_{_CLIP}_lora_e1_gpu8_finetune"),
        ("vicuna-7b-qlora-refcoco", f"llava_vicuna_7b_v15_qlora_{_CLIP}_lora_e1_gpu8_finetune_refcoco"),
        ("vicuna-13b-qlora", f"llava_vicuna_13b_v15_qlora_{_CLIP}_lora_e1_gpu8_finetune"),
    )
}


def names() -> tuple[str, ...]:
    """Every name that spec.recipe may hold, job recipes first."""
    return (*JOB_RECIPES, *PUBLISHED)


def get(name: str) -> Recipe | JobRecipe:
    """The recipe of that name; raises InvalidJob with the nearest names for one that nobody published."""
    found = JOB_RECIPES.get(name) or PUBLISHED.get(name)
    if found is None:
        near = get_close_matches(name, names(), n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "`llava recipe list` shows them."
        raise InvalidJob([Problem("spec.recipe", f'Invalid value: "{name}": no recipe has this name; {hint}')])
    return found


def stages_of(recipe: Recipe | JobRecipe) -> tuple[Recipe, ...]:
    """The published stages of a recipe in their order."""
    return (recipe.pretrain, recipe.finetune) if isinstance(recipe, JobRecipe) else (recipe,)


def effective(spec: LlavaTrainJobSpec) -> LlavaTrainJobSpec:
    """The spec with everything decided: what the user wrote, else what its recipe says, else the defaults above.

    A stage of the result has no open field but `epochs` or `maxSteps` (one of the two), `lora` (without adapters),
    `pretrainedProjector`, `validation` and, without a recipe, `samples`. Applied to its own result it changes nothing.
    Raises InvalidJob, naming each field that is still missing and what to do about it.
    """
    written = spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    if spec.recipe is not None:
        written = _merge(_filling(get(spec.recipe), spec), written)
    complete = _with_defaults(written)
    if missing := dict.fromkeys(_missing(complete, spec)):
        raise InvalidJob(missing)
    try:
        return LlavaTrainJobSpec.model_validate(complete)
    except ValidationError as error:
        fields = ((".".join(("spec", *map(str, one["loc"]))), one["msg"]) for one in error.errors())
        raise InvalidJob(
            Problem(field, f'Invalid value: "object": {message} (with what {spec.recipe} fills)')
            for field, message in fields
        ) from None


def _filling(recipe: Recipe | JobRecipe, spec: LlavaTrainJobSpec) -> dict[str, Any]:
    """What a recipe says, in the spec's own words."""
    stages = stages_of(recipe)
    first = stages[0]
    has_model = spec.model.from_model is not None
    parts = {
        "llm": {"uri": f"hf://{first.language_model.hub_name}"},
        "visionTower": {"uri": f"hf://{first.vision_tower}"},
    }
    filling: dict[str, Any] = {
        "model": {
            **({} if has_model else parts),
            "promptTemplate": first.language_model.prompt_template,
            "projectorDepth": first.projector_depth,
            "visionFeatureLayer": first.vision_feature_layer,
        },
        # One interval serves both stages of a job: the shorter one.
        "checkpoint": {"everySteps": min(stage.save_every_steps for stage in stages)},
        "workers": {"gpusPerWorker": first.num_gpus},
        **{stage.stage.value: _stage(stage, spec.data_root) for stage in stages if stage.stage not in _left_out(spec)},
    }
    return {**filling, "convert": {}} if isinstance(recipe, JobRecipe) else filling


def _left_out(spec: LlavaTrainJobSpec) -> set[Stage]:
    """A whole model brings its projector, which is not pretrained again unless the user says so."""
    return {Stage.PRETRAIN} if spec.model.from_model and spec.pretrain is None else set()


def _stage(recipe: Recipe, data_root: str | None) -> dict[str, Any]:
    stage = {
        "epochs": recipe.epochs,
        "batchSize": recipe.batch_size,
        "accumulation": recipe.accumulation,
        "learningRate": recipe.learning_rate,
        "schedule": "cosine",
        "warmupRatio": recipe.warmup_ratio,
        "weightDecay": recipe.weight_decay,
        "maxGradNorm": recipe.max_grad_norm,
        "maxLength": recipe.max_length,
        "padToSquare": recipe.pad_to_square,
        "llm": _tuning(recipe.llm_adapter, is_full=recipe.llm_is_full, is_nf4=recipe.llm_is_nf4),
        "visionTower": _tuning(recipe.tower_adapter, is_full=recipe.tower_is_full),
        "gradientCheckpointing": recipe.recomputes_activations,
        "samples": {"prompts": list(recipe.sample_questions), "everySteps": recipe.save_every_steps},
    }
    if data_root is not None and all(data_set.rows == "llava" for data_set in recipe.data):
        root = data_root.rstrip("/")
        stage["data"] = [
            {"annotations": f"{root}/{data_set.annotations}", "images": f"{root}/{data_set.images}"}
            for data_set in recipe.data
        ]
    return stage


def _tuning(adapter: Adapter | None, *, is_full: bool, is_nf4: bool = False) -> dict[str, Any]:
    if adapter is not None:
        lora = {"rank": adapter.rank, "alpha": adapter.alpha, "dropout": adapter.dropout}
        return {"mode": "qlora" if is_nf4 else "lora", "lora": lora}
    return {"mode": "full"} if is_full else _FROZEN


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` wins field by field; a list is one value; fields that exclude each other leave together."""
    merged = dict(under)
    for key, value in over.items():
        below = under.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    if "maxSteps" in over:
        merged.pop("epochs", None)
    if over.get("mode", "lora") not in _ADAPTER_MODES and "lora" not in over:
        merged.pop("lora", None)
    return merged


def _with_defaults(written: dict[str, Any]) -> dict[str, Any]:
    complete = _merge({"model": _MODEL_DEFAULTS, "checkpoint": {"everySteps": _SAVE_EVERY_STEPS}}, written)
    for stage in _TRAINING:
        if stage in complete:
            length = {} if "maxSteps" in complete[stage] else {"epochs": 1}
            complete[stage] = _merge({**_DEFAULTS[stage], **length}, complete[stage])
    workers = complete.setdefault("workers", {})
    if workers.get("gpusPerWorker") == 0:
        complete["workers"] = {"ranksPerWorker": 1, **workers}
    return complete


def _missing(complete: dict[str, Any], spec: LlavaTrainJobSpec) -> Iterator[Problem]:
    """Name what nobody filled."""
    source = f"recipe {spec.recipe} does not fill it" if spec.recipe else "there is no recipe to fill it"
    parts = () if "from" in complete["model"] else ("llm", "visionTower")
    for key in (*parts, "promptTemplate"):
        if key not in complete["model"]:
            yield Problem(f"spec.model.{key}", f"Required value: {source}")
    if any("data" not in complete[stage] for stage in _TRAINING if stage in complete):
        yield from _missing_data(complete, spec)
    for stage in _TRAINING:
        if stage in complete:
            yield from _missing_of_stage(f"spec.{stage}", complete[stage], source)
    has_projector = "pretrain" in complete or "from" in complete["model"]
    if "finetune" in complete and not has_projector and "pretrainedProjector" not in complete["finetune"]:
        yield Problem(
            "spec.finetune.pretrainedProjector",
            "Required value: finetune starts from a trained projector; name one, or write pretrain or model.from",
        )
    if "evaluate" in complete and "convert" not in complete:
        yield Problem("spec.convert", "Required value: evaluate scores the exported model; write convert: {}")


def _missing_data(complete: dict[str, Any], spec: LlavaTrainJobSpec) -> Iterator[Problem]:
    stages = {recipe.stage: recipe for recipe in stages_of(get(spec.recipe))} if spec.recipe else {}
    for stage in _TRAINING:
        if "data" in complete.get(stage, {"data": None}):
            continue
        recipe = stages.get(stage)
        if recipe is None:
            yield Problem(f"spec.{stage}.data", "Required value: no recipe names rows for this stage")
        elif any(data_set.rows != "llava" for data_set in recipe.data):
            yield Problem(
                f"spec.{stage}.data",
                "Required value: the recipe reads RefCOCO's own JSON too, which has to be turned into LLaVA rows first",
            )
        elif spec.data_root is None:
            folder = recipe.data[0].annotations.split("/")[0]
            yield Problem(
                "spec.dataRoot", f"Required value: name the folder that holds {folder}/, or write the stage's data"
            )


def _missing_of_stage(path: str, stage: dict[str, Any], source: str) -> Iterator[Problem]:
    for key in ("batchSize", "learningRate", "llm"):
        if key not in stage:
            yield Problem(f"{path}.{key}", f"Required value: {source}")
    for part in ("llm", "visionTower"):
        tuning = stage.get(part, _FROZEN)
        if tuning["mode"] in _ADAPTER_MODES and "lora" not in tuning:
            yield Problem(
                f"{path}.{part}.lora", f"Required value: mode {tuning['mode']} needs rank and alpha; {source}"
            )
