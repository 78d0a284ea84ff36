"""The 33 published recipes, number by number, and what becomes of them in a job."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from llava_contract import recipe_text, recipes
from llava_contract.crd import schema_of
from llava_contract.problems import InvalidJob
from llava_contract.published import PUBLISHED, Adapter, DataSet, Recipe
from llava_contract.run import Stage
from llava_contract.v1alpha1 import LlavaTrainJob, LlavaTrainJobSpec
from support.golden import golden
from support.specs import PLAIN, RECIPE, changed, with_defaults

GOLDEN: dict[str, dict[str, Any]] = {row["name"]: row for row in json.loads(golden("recipes.json").read_text("utf-8"))}
ROW_READERS = {"LLaVADataset": "llava", "RefCOCOJsonDataset": "refcoco", "InvRefCOCOJsonDataset": "inverse-refcoco"}


def adapter(row: dict[str, Any] | None) -> Adapter | None:
    return row and Adapter(row["r"], row["lora_alpha"], row["lora_dropout"])


def data_set(row: dict[str, Any], recipe: Recipe) -> DataSet:
    num_rows = next(own.num_rows for own in recipe.data if row["data_path"].endswith(own.annotations))
    paths = (row[key].removeprefix("./data/") for key in ("data_path", "image_folder"))
    return DataSet(*paths, num_rows, ROW_READERS[row["type"]])


def default_number(text: str) -> int:
    return int(text.split()[1])


def parts_in(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "stage": row["stage"],
        "llm": row["llm"],
        "tower": row["visual_encoder"],
        "template": row["prompt_template"],
        "llm_is_full": not row["freeze_llm"],
        "tower_is_full": not row["freeze_visual_encoder"],
        "load_dtype": row["llm_dtype"].removeprefix("torch."),
        "nf4": row["llm_quantization"] is not None,
        "llm_adapter": adapter(row["llm_lora"]),
        "tower_adapter": adapter(row["visual_encoder_lora"]),
        "layer": default_number(row["visual_select_layer"]),
        "depth": default_number(row["projector_depth"]),
        "recomputes": row["use_activation_checkpointing"].startswith("default True"),
    }


def parts_of(recipe: Recipe) -> dict[str, Any]:
    return {
        "stage": recipe.stage,
        "llm": recipe.language_model.hub_name,
        "tower": recipe.vision_tower,
        "template": recipe.language_model.prompt_template,
        "llm_is_full": recipe.llm_is_full,
        "tower_is_full": recipe.tower_is_full,
        "load_dtype": recipe.llm_load_dtype or "None",
        "nf4": recipe.llm_is_nf4,
        "llm_adapter": recipe.llm_adapter,
        "tower_adapter": recipe.tower_adapter,
        "layer": recipe.vision_feature_layer,
        "depth": recipe.projector_depth,
        "recomputes": recipe.recomputes_activations,
    }


def numbers_in(row: dict[str, Any]) -> dict[str, Any]:
    keys = ("gpus", "batch_size_per_device", "accumulative_counts", "global_batch", "max_epochs", "lr", "weight_decay")
    more = ("max_norm", "warmup_ratio", "save_steps", "save_total_limit", "max_length", "dataloader_num_workers")
    return {
        **{key: row[key] for key in keys + more},
        "betas": tuple(row["betas"]),
        "optimizer": row["optimizer"],
        "zero": int(row["deepspeed"].split("deepspeed_zero")[1][0]),
        "amp": row["optim_wrapper"]["dtype"],
        "start": row["param_scheduler"][0]["start_factor"],
        "warm-up end": row["param_scheduler"][0]["end"],
        "final": row["param_scheduler"][1]["eta_min"],
        "pin": bool(row["pin_memory"]),
        "group": row["sampler"].get("per_device_batch_size"),
        "samples": row["evaluation_freq"],
        "questions": tuple(row["evaluation_inputs"]),
        "image": row["evaluation_images"],
    }


def numbers_of(recipe: Recipe) -> dict[str, Any]:
    return {
        "gpus": recipe.num_gpus,
        "batch_size_per_device": recipe.batch_size,
        "accumulative_counts": recipe.accumulation,
        "global_batch": recipe.global_batch,
        "max_epochs": recipe.epochs,
        "lr": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "max_norm": recipe.max_grad_norm,
        "warmup_ratio": recipe.warmup_ratio,
        "save_steps": recipe.save_every,
        "save_total_limit": recipe.keep_last,
        "max_length": recipe.max_length,
        "dataloader_num_workers": recipe.num_loader_workers,
        "betas": recipe.betas,
        "optimizer": recipe.optimizer,
        "zero": recipe.zero_stage,
        "amp": recipe.amp_dtype,
        "start": recipe.warmup_start_factor,
        "warm-up end": recipe.warmup_ratio * recipe.epochs,
        "final": recipe.final_learning_rate,
        "pin": recipe.pins_memory,
        "group": recipe.group_size,
        "samples": recipe.save_every,
        "questions": recipe.sample_questions,
        "image": recipe.sample_image,
    }


def schema_default(section: str, field: str) -> Any:
    return schema_of(LlavaTrainJob)["properties"]["spec"]["properties"][section]["properties"][field]["default"]


def effective(**changes: Any) -> LlavaTrainJobSpec:
    fields = {f"spec.{path.replace('__', '.')}": value for path, value in changes.items()}
    return recipes.effective(LlavaTrainJob.model_validate(changed(RECIPE, fields)).spec)


def test_all_are_there_and_no_other() -> None:
    assert set(PUBLISHED) == set(GOLDEN)
    assert len(GOLDEN) == 33


@pytest.mark.parametrize("name", GOLDEN)
def test_parts_are_the_published_ones(name: str) -> None:
    assert parts_of(PUBLISHED[name]) == parts_in(GOLDEN[name])


@pytest.mark.parametrize("name", GOLDEN)
def test_numbers_are_the_published_ones(name: str) -> None:
    assert numbers_of(PUBLISHED[name]) == numbers_in(GOLDEN[name])


@pytest.mark.parametrize("name", [name for name, row in GOLDEN.items() if row["llm_quantization"]])
def test_quantised_means_nf4_twice_over_in_fp16(name: str) -> None:
    settings = GOLDEN[name]["llm_quantization"]
    assert (settings["load_in_4bit"], settings["load_in_8bit"], settings["bnb_4bit_quant_type"]) == (True, False, "nf4")
    assert (settings["bnb_4bit_use_double_quant"], settings["bnb_4bit_compute_dtype"]) == (True, "torch.float16")


@pytest.mark.parametrize("recipe", PUBLISHED.values(), ids=lambda recipe: recipe.name)
def test_what_all_recipes_share_is_the_definitions_default(recipe: Recipe) -> None:
    assert schema_default("checkpoint", "keepLast") == recipe.keep_last
    assert schema_default("deepspeed", "zeroStage") == recipe.zero_stage


@pytest.mark.parametrize("name", GOLDEN)
def test_data_are_the_published_ones(name: str) -> None:
    recipe, rows = PUBLISHED[name], GOLDEN[name]["datasets"]
    assert recipe.data == tuple(data_set(row, recipe) for row in rows)
    wanted = {(recipe.pad_to_square, recipe.max_length)}
    assert {(row["pad_image_to_square"], row["max_length"]) for row in rows} == wanted


@pytest.mark.parametrize("name", [name for name, row in GOLDEN.items() if "derived" in row])
def test_steps_are_the_published_ones(name: str) -> None:
    recipe, derived = PUBLISHED[name], GOLDEN[name]["derived"]
    counts = (recipe.num_rows, recipe.num_micro_batches, recipe.num_steps, recipe.num_warmup_micro_batches)
    keys = ("rows", "xtuner_iterations", "optimizer_steps", "warmup_iterations")
    assert counts == tuple(derived[key] for key in keys)
    assert derived["last_checkpoint"] == f"iter_{recipe.num_micro_batches}.pth"


@pytest.mark.parametrize("name", GOLDEN)
def test_each_finetune_starts_from_its_published_pretrain(name: str) -> None:
    path = GOLDEN[name]["pretrained_pth"]
    assert PUBLISHED[name].starts_from == (path and path.split("/")[-2])


@pytest.mark.parametrize("job", recipes.JOB_RECIPES.values(), ids=lambda job: job.name)
def test_a_job_recipe_pairs_stages_of_one_model(job: recipes.JobRecipe) -> None:
    assert (job.pretrain.stage, job.finetune.stage) == (Stage.PRETRAIN, Stage.FINETUNE)
    assert job.pretrain.language_model == job.finetune.language_model
    assert job.pretrain.num_gpus == job.finetune.num_gpus


def test_every_finetune_has_a_job_recipe() -> None:
    finetunes = {name for name, recipe in PUBLISHED.items() if recipe.stage is Stage.FINETUNE}
    assert {job.finetune.name for job in recipes.JOB_RECIPES.values()} == finetunes


@pytest.mark.parametrize("name", recipes.names())
def test_a_shown_recipe_is_a_complete_job(name: str) -> None:
    job = LlavaTrainJob.model_validate(yaml.safe_load(recipe_text.show(name)))
    assert recipes.effective(job.spec) == job.spec


@pytest.mark.parametrize("name", recipes.names())
def test_a_spec_holds_its_recipes_numbers(name: str) -> None:
    spec = LlavaTrainJob.model_validate(yaml.safe_load(recipe_text.show(name))).spec
    for recipe in recipes.stages_of(recipes.get(name)):
        stage = spec.pretrain if recipe.stage is Stage.PRETRAIN else spec.finetune
        assert stage is not None
        assert (stage.batch_size, stage.accumulation, stage.learning_rate, stage.max_length, stage.epochs) == (
            recipe.batch_size, recipe.accumulation, recipe.learning_rate, recipe.max_length, recipe.epochs
        )  # fmt: skip


def test_the_tutorials_recipe_in_full() -> None:
    finetune = effective().finetune
    assert finetune is not None
    assert finetune.llm is not None
    assert finetune.llm.lora is not None
    assert (finetune.llm.mode, finetune.llm.lora.rank, finetune.llm.lora.alpha, finetune.llm.lora.dropout) == (
        "qlora", 512, 256, 0.05
    )  # fmt: skip


def test_the_user_wins_over_the_recipe_field_by_field() -> None:
    pretrain = effective(pretrain={"learningRate": 5e-4}).pretrain
    assert pretrain is not None
    assert (pretrain.learning_rate, pretrain.batch_size) == (5e-4, 32)


def test_adapter_settings_that_are_left_out_come_from_the_recipe() -> None:
    finetune = effective(finetune={"llm": {"mode": "lora", "lora": {"rank": 8, "alpha": 8}}}).finetune
    assert finetune is not None
    assert finetune.llm is not None
    assert finetune.llm.lora is not None
    assert (finetune.llm.lora.rank, finetune.llm.lora.dropout) == (8, 0.05)


def test_a_full_llm_leaves_the_recipes_adapter_behind() -> None:
    finetune = effective(finetune={"llm": {"mode": "full"}}).finetune
    assert finetune is not None
    assert finetune.llm is not None
    assert finetune.llm.lora is None


def test_steps_of_the_user_displace_epochs_of_the_recipe() -> None:
    finetune = effective(finetune={"maxSteps": 7}).finetune
    assert finetune is not None
    assert (finetune.max_steps, finetune.epochs) == (7, None)


def test_data_lie_under_the_data_root() -> None:
    pretrain = effective(dataRoot="pvc://datasets/llava/").pretrain
    assert pretrain is not None
    assert pretrain.data is not None
    assert pretrain.data[0].images == "pvc://datasets/llava/llava_data/LLaVA-Pretrain/images"


def test_the_recipe_says_how_many_gpus_until_the_user_does() -> None:
    one_gpu = "llama3-8b-qlora-1gpu"
    assert effective(recipe=one_gpu).workers.num_ranks == 1
    assert effective(recipe=one_gpu, workers={"gpusPerWorker": 4, "replicas": 2}).workers.num_ranks == 8


def test_a_job_recipe_exports_and_a_stage_recipe_does_not() -> None:
    stage = effective(recipe="llava_v15_7b_pretrain")
    assert effective().convert is not None
    assert (stage.convert, stage.finetune) == (None, None)


@pytest.mark.parametrize(
    ("recipe", "steps"), [("internlm2-7b-qlora", 500), ("internlm2-7b-full", 250), ("llama3-8b-qlora-1gpu", 195)]
)
def test_saves_are_counted_in_optimizer_steps(recipe: str, steps: int) -> None:
    assert effective(recipe=recipe).checkpoint.every_steps == steps


def test_defaults_fill_what_neither_says() -> None:
    spec = recipes.effective(LlavaTrainJob.model_validate(PLAIN).spec)
    assert spec.pretrain is not None
    assert spec.finetune is not None
    assert (spec.model.projector_depth, spec.model.vision_feature_layer) == (2, -2)
    assert (spec.pretrain.pad_to_square, spec.finetune.pad_to_square) == (False, True)
    assert (spec.pretrain.epochs, spec.pretrain.accumulation, spec.pretrain.warmup_ratio) == (1, 1, 0.03)
    assert (spec.checkpoint.every_steps, spec.checkpoint.keep_last) == (500, 2)


@pytest.mark.parametrize("name", recipes.names())
def test_a_stage_is_left_with_no_open_field(name: str) -> None:
    spec = LlavaTrainJob.model_validate(yaml.safe_load(recipe_text.show(name))).spec
    for stage in filter(None, (spec.pretrain, spec.finetune)):
        empty = {field for field, value in stage if value is None}
        assert empty <= {"max_steps", "pretrained_projector", "validation"}


@pytest.mark.parametrize("name", recipes.names())
def test_a_whole_model_takes_the_place_of_a_recipes_parts_and_pretrain(name: str) -> None:
    body = yaml.safe_load(recipe_text.show(name))
    given = {"from": {"trainJobName": "first"}}
    written = {"storage": {"uri": "x"}, "recipe": name, "model": given, "finetune": {"data": [{"annotations": "a"}]}}
    if recipes.stages_of(recipes.get(name))[-1].stage is Stage.PRETRAIN:
        written["pretrain"] = written.pop("finetune")
    spec = recipes.effective(LlavaTrainJobSpec.model_validate(written))
    assert (spec.model.llm, spec.model.vision_tower) == (None, None)
    assert spec.model.prompt_template == body["spec"]["model"]["promptTemplate"]
    assert (spec.pretrain is None) is ("finetune" in written)


def test_a_pretrain_that_is_written_is_done_on_a_whole_model_too() -> None:
    written = {"storage": {"uri": "x"}, "recipe": "internlm2-7b-qlora", "dataRoot": "data", "pretrain": {"epochs": 1},
               "model": {"from": {"uri": "x"}}}  # fmt: skip
    spec = recipes.effective(LlavaTrainJobSpec.model_validate(written))
    assert spec.pretrain is not None
    assert spec.pretrain.batch_size is not None


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(InvalidJob, match="did you mean phi3-mini-full"):
        recipes.get("phi3-mini-ful")


def test_the_list_names_every_recipe() -> None:
    listed = [line.split()[0] for line in recipe_text.listing().splitlines()[1:]]
    assert listed == list(recipes.names())


def test_foreign_rows_are_said_and_not_trained_on() -> None:
    shown = recipe_text.show("vicuna-7b-qlora-refcoco")
    assert "RefCOCOJson/train.json as refcoco rows" in shown
    assert "RefCOCO" not in str(yaml.safe_load(shown))


@pytest.mark.parametrize("body", [PLAIN, RECIPE], ids=["plain", "recipe"])
def test_defaults_that_the_api_server_wrote_change_nothing(body: dict[str, Any]) -> None:
    admitted = LlavaTrainJob.model_validate(with_defaults(schema_of(LlavaTrainJob), body))
    assert recipes.effective(admitted.spec) == recipes.effective(LlavaTrainJob.model_validate(body).spec)


@pytest.mark.parametrize(
    ("workers", "ranks"),
    [
        ({}, 8),
        ({"replicas": 2}, 16),
        ({"gpusPerWorker": 1}, 1),
        ({"gpusPerWorker": 0}, 1),
        ({"replicas": 2, "gpusPerWorker": 0, "ranksPerWorker": 3}, 6),
    ],
)
def test_the_world_is_counted_in_ranks(workers: dict[str, int], ranks: int) -> None:
    assert effective(workers=workers).workers.num_ranks == ranks
