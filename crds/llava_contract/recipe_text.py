"""What `llava recipe list` and `llava recipe show` print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import yaml

from llava_contract import recipes
from llava_contract.published import Adapter, Recipe
from llava_contract.run import Stage
from llava_contract.v1alpha1.trainjob import LlavaTrainJobSpec

__all__ = ["describe", "listing", "show"]

DATA_ROOT: Final = "data"


def listing() -> str:
    """Every recipe, one a line: name, stages, LLM and how it is tuned."""
    rows = [("NAME", "STAGES", "LLM", "TUNING")]
    for name in recipes.names():
        stages = recipes.stages_of(recipes.get(name))
        words = " + ".join(stage.stage.value for stage in stages)
        rows.append((name, words, stages[0].language_model.hub_name, tuning_words(stages[-1])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def show(name: str) -> str:
    """A whole job file with the recipe's effective spec, and as comments what the recipe's authors published.

    Raises InvalidJob for a name that is no recipe.
    """
    recipe = recipes.get(name)
    stages = recipes.stages_of(recipe)
    spec = recipes.effective(_shortest_spec(name, stages))
    job = {
        "apiVersion": "llava.dev/v1alpha1",
        "kind": "LlavaTrainJob",
        "metadata": {"name": "my-llava"},
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
    comments = "".join(f"# {line}\n" for stage in stages for line in describe(stage))
    return comments + yaml.safe_dump(job, sort_keys=False, allow_unicode=True, width=120)


def _shortest_spec(name: str, stages: tuple[Recipe, ...]) -> LlavaTrainJobSpec:
    """The least that a user has to write around a recipe."""
    spec: dict[str, Any] = {"recipe": name, "dataRoot": DATA_ROOT, "storage": {"uri": "runs/my-llava"}}
    last = stages[-1]
    if last.stage is Stage.FINETUNE:
        finetune: dict[str, Any] = {}
        if len(stages) == 1:
            finetune["pretrainedProjector"] = f"checkpoint-of/{last.starts_from}"
        if any(data_set.rows != "llava" for data_set in last.data):
            finetune["data"] = [
                {"annotations": f"{DATA_ROOT}/{data_set.annotations}", "images": f"{DATA_ROOT}/{data_set.images}"}
                for data_set in last.data
                if data_set.rows == "llava"
            ]
        spec["finetune"] = finetune
    return LlavaTrainJobSpec.model_validate(spec)


def describe(recipe: Recipe) -> Iterator[str]:
    """What a published stage's spec does not hold: steps in both counts, and what XTuner did otherwise."""
    yield f"{recipe.stage}: {recipe.name}"
    yield (
        f"  {recipe.num_gpus} GPUs x batch {recipe.batch_size} x accumulation {recipe.accumulation} "
        f"= {recipe.global_batch} rows a step"
    )
    if recipe.num_steps is not None:
        yield (
            f"  {recipe.num_rows:,} rows = {recipe.num_steps:,} optimizer steps (XTuner counts "
            f"{recipe.num_micro_batches:,} micro-batches, {recipe.num_warmup_micro_batches:,} of them warm-up)"
        )
    yield (
        f"  saved every {recipe.save_every_steps:,} steps ({recipe.save_every:,} micro-batches), "
        f"the newest {recipe.keep_last} kept"
    )
    if recipe.llm_is_nf4:
        compute = "fp16, ours in bf16" if recipe.llm_adapter else "fp16; ours keeps a frozen LLM in bf16"
        yield f"  XTuner held the LLM in NF4 with double quantisation and computed in {compute}"
    if recipe.starts_from is not None:
        yield f"  starts from the projector of {recipe.starts_from}"
    for data_set in recipe.data:
        if data_set.rows != "llava":
            yield f"  also read {data_set.annotations} as {data_set.rows} rows; turn them into LLaVA rows first"


def tuning_words(recipe: Recipe) -> str:
    """How LLM and vision tower are tuned, in a few words."""
    if recipe.stage is Stage.PRETRAIN:
        return "projector only"
    llm = _adapter_words(recipe.llm_adapter, is_full=recipe.llm_is_full, lora="QLoRA" if recipe.llm_is_nf4 else "LoRA")
    return f"LLM {llm}, tower {_adapter_words(recipe.tower_adapter, is_full=recipe.tower_is_full)}"


def _adapter_words(adapter: Adapter | None, *, is_full: bool, lora: str = "LoRA") -> str:
    if adapter is not None:
        return f"{lora} r{adapter.rank}"
    return "full" if is_full else "frozen"
