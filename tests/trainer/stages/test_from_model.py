"""A training on a whole model starts from exactly that model, and its own export can be trained further."""

from __future__ import annotations

import copy
import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

from llava_contract.run import ModelParts, PrepareTask, Stage, TrainTask
from llava_contract.v1alpha1.data import OnBadRow
from llava_trainer.data.pack import Batching
from llava_trainer.data.shards import ImageSet, Place, TokenSet
from llava_trainer.engine.feed import Feed
from llava_trainer.errors import (
    BadData,
    InvalidSpec,
    LlavaError,
    MissingInput,
    Unsupported,
    WeightsMismatch,
    WrongTemplate,
)
from llava_trainer.formats.projector import read_projector
from llava_trainer.model.build import build_model, load_trained
from llava_trainer.model.export import load_export
from llava_trainer.model.llava import Llava
from llava_trainer.stages import prepare
from llava_trainer.stages.projector import ProjectorPlace
from llava_trainer.storage import materialise, open_storage
from support.s3_server import S3Server
from support.tiny_model import PATCHES, frozen, full, lora, pack, random_pixels, random_row, train_task, write_tower
from support.trained import TrainedJob, context, ended_job, run_config, save, trained_job
from support.training_job import NUM_SAMPLES, TinyJob, losses, start

CPU = torch.device("cpu")
BATCH = pack([random_row(12, image=True, seed=3)], random_pixels(1))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> TrainedJob:
    job = trained_job(tmp_path_factory.mktemp("exported"), train_task(lora(), lora()))
    job.convert()
    return job


def loss(model: Llava, batch: Any = BATCH) -> torch.Tensor:
    model.llm.use_packed_attention()
    with torch.no_grad():
        return model.eval()(batch)


def answering(folder: Path) -> Llava:
    return load_export(folder, dtype=torch.float32, device=CPU)


def continued(export: Path, task: TrainTask) -> Llava:
    """Build the model that a training on an export begins with."""
    model = build_model(task, tower_folder=export, llm_folder=export, dtype=torch.float32, device=CPU)
    load_trained(model, read_projector(export).tensors, only="projector.")
    return model


def whole(export: Path, **changes: Any) -> ModelParts:
    parts = train_task().model.model_copy(update={"llm": str(export), "vision_tower": str(export)})
    return parts.model_copy(update=changes)


def test_training_starts_at_the_loss_of_the_model_that_was_exported(exported: TrainedJob, tmp_path: Path) -> None:
    job = TinyJob.write(tmp_path)
    task = {"max_steps": 1, "epochs": None, "batch_size": NUM_SAMPLES, "pretrained_projector": str(exported.export)}
    config = job.config(tmp_path / "storage", num_ranks=1, **task)
    config = config.model_copy(update={"task": config.task.model_copy(update={"model": whole(exported.export)})})
    ended = start(config, tmp_path / "attempt").wait()
    assert ended.code == 0, ended.log
    tokens, images = TokenSet.open(Place(tmp_path / "tokens")), ImageSet.open(Place(tmp_path / "images"))
    feed = Feed(tokens, images, Batching(NUM_SAMPLES, 1, 10_000, config.task.order, 0), 0, PATCHES, CPU)
    (step,) = feed.once()
    each = torch.cat([loss(answering(exported.export), batch) for batch in feed.batches(step)])
    assert losses(tmp_path / "storage")[0][1] == pytest.approx(each.double().mean().item(), rel=1e-6)


def test_the_parts_of_an_export_are_the_model_that_was_trained(exported: TrainedJob) -> None:
    model, vocabulary = continued(exported.export, train_task()), exported.model.llm.config.vocab_size
    torch.testing.assert_close(model.encode_images(BATCH.pixels_ICHW), exported.model.encode_images(BATCH.pixels_ICHW))
    rows = model.llm.lm_head.weight[:vocabulary]
    torch.testing.assert_close(rows, exported.model.llm.lm_head.weight)
    assert torch.equal(loss(model), loss(answering(exported.export)))


MODELS = {
    "lora": ("llama", lora(), lora()), "full": ("llama", full(), full()), "projector": ("llama", frozen(), frozen()),
    "biased and tied": ("llama-tied-biased", full(), frozen()), "InternLM2": ("internlm2", lora(), frozen()),
    "experts": ("mixtral", full(), frozen()), "Phi-3": ("phi3", lora(), frozen()),
    "Gemma 2": ("gemma2", lora(), full()),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_second_export_is_the_model_that_was_trained_further(name: str, tmp_path: Path) -> None:
    family, llm, tower = MODELS[name]
    first = trained_job(tmp_path / "first", train_task(lora(), frozen()), family)
    first.convert()
    assert trained_further(first, tmp_path, train_task(llm, tower))


def test_a_second_export_may_have_a_siglip(tmp_path: Path) -> None:
    write_tower(tmp_path / "first" / "tower", "siglip")
    first = trained_job(tmp_path / "first", train_task(lora(), frozen()))
    first.convert()
    assert trained_further(first, tmp_path, train_task(lora(), lora()))


def trained_further(first: TrainedJob, folder: Path, task: TrainTask) -> bool:
    """Train an export at random, export that, and compare what both say."""
    before, model = loss(answering(first.export)), continued(first.export, task)
    torch.testing.assert_close(loss(model), before, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        for number, parameter in enumerate(model.trainable().values()):
            generator = torch.Generator().manual_seed(number)
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    second = ended_job(folder / "second", model, task)
    second.convert(model=whole(first.export))
    after = loss(answering(second.export))
    torch.testing.assert_close(after, loss(model), rtol=1e-5, atol=1e-5)
    return not torch.allclose(after, before, rtol=1e-3, atol=1e-3)


def test_a_second_export_keeps_its_tokenizer_and_its_rows(exported: TrainedJob, tmp_path: Path) -> None:
    second = ended_job(tmp_path, continued(exported.export, train_task()), train_task())
    second.convert(model=whole(exported.export))
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "processor_config.json"):
        assert json.loads((second.export / name).read_text()) == json.loads((exported.export / name).read_text())


def test_the_card_says_what_was_trained_further(exported: TrainedJob, tmp_path: Path) -> None:
    second = ended_job(tmp_path, continued(exported.export, train_task()), train_task())
    second.convert(model=whole(exported.export))
    card = (second.export / "README.md").read_text()
    assert f"A LLaVA model: {exported.export},\ntrained further (vision tower frozen, LLM frozen)." in card


def test_what_transformers_saves_is_read_as_well(exported: TrainedJob, tmp_path: Path) -> None:
    LlavaForConditionalGeneration.from_pretrained(exported.export).save_pretrained(tmp_path)
    assert torch.equal(loss(continued(tmp_path, train_task())), loss(answering(exported.export)))


def test_names_of_a_module_are_read_as_well(exported: TrainedJob, tmp_path: Path) -> None:
    model = LlavaForConditionalGeneration.from_pretrained(exported.export)
    shutil.copy(exported.export / "config.json", tmp_path)
    save_file(model.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(loss(continued(tmp_path, train_task())), loss(answering(exported.export)))


def checked(folder: Path, model: ModelParts, projector: str | None) -> None:
    """Prepare no set at all: everything that comes before is looked at."""
    task = PrepareTask(
        model=model, pretrained_projector=projector, sets=[], on_bad_row=OnBadRow.FAIL, max_bad_fraction=0,
        benchmarks=[],
    )  # fmt: skip
    prepare.run(run_config(folder / "job", Stage.PREPARE, task), context("prepare"))


def rewrite(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(export: Path) -> None:
        content = json.loads((export / "config.json").read_text())
        change(content)
        (export / "config.json").write_text(json.dumps(content))

    return apply


def retensor(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def apply(export: Path) -> None:
        tensors = load_file(export / "model.safetensors")
        change(tensors)
        save_file(tensors, export / "model.safetensors", metadata={"format": "pt"})

    return apply


LINEAR = "multi_modal_projector.linear_1."
BadModel = tuple[Callable[[Path], None], dict[str, Any], type[LlavaError], str]
BAD_MODELS: list[BadModel] = [
    (rewrite(lambda c: c.update(model_type="llava_next")), {}, Unsupported, "a model of type llava_next"),
    (rewrite(lambda c: c.update(vision_feature_layer=[-2, -5])), {}, Unsupported, "reads several layers"),
    (rewrite(lambda c: c.update(vision_feature_select_strategy="full")), {}, Unsupported, "not exactly the patches"),
    (rewrite(lambda c: c.update(projector_hidden_act="relu")), {}, Unsupported, "not linear, GELU, linear"),
    (rewrite(lambda c: c.pop("vision_config")), {}, BadData, "without vision_config"),
    (rewrite(lambda c: c["text_config"].update(model_type="mamba")), {}, Unsupported, "an LLM of type mamba"),
    (lambda _: None, {"vision_feature_layer": -1}, InvalidSpec, "visionFeatureLayer is -1; write -2"),
    (lambda _: None, {"prompt_template": "llama3_chat"}, WrongTemplate, "promptTemplate is llama3_chat; write vicuna"),
    (lambda export: (export / "tokenizer.json").unlink(), {}, MissingInput, "holds no tokenizer.json"),
    (lambda export: (export / "model.safetensors").unlink(), {}, MissingInput, "has no weights"),
    (retensor(lambda t: t.pop(f"{LINEAR}bias")), {}, WeightsMismatch, r"projector\.model\.0\.bias is missing"),
    (retensor(lambda t: t[f"{LINEAR}bias"].fill_(torch.nan)), {}, BadData, r"linear_1\.bias holds NaN"),
    (retensor(lambda t: t.update({f"{LINEAR}bias": torch.ones(5)})), {}, WeightsMismatch, r"bias is \(5,\), not \(32,"),
    (lambda _: None, {"projector_depth": 3}, WeightsMismatch, r"projector\.model\.4\.weight is missing"),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_MODELS, ids=lambda bad: bad[3])
def test_a_model_that_cannot_be_trained_further_is_refused_before_any_gpu(
    bad: BadModel, exported: TrainedJob, tmp_path: Path
) -> None:
    (spoil, changes, error, words), export = bad, tmp_path / "model"
    shutil.copytree(exported.export, export)
    spoil(export)
    with pytest.raises(error, match=rf"^spec\.model\.from: .*{words}"):
        checked(tmp_path, whole(export, **changes), str(export))


def test_a_good_model_passes(exported: TrainedJob, tmp_path: Path) -> None:
    checked(tmp_path, whole(exported.export), str(exported.export))


def as_published(config: dict[str, Any]) -> None:
    """Say no more than the config of a published LLaVA 1.5 does."""
    for name in ("vision_feature_layer", "vision_feature_select_strategy", "projector_hidden_act"):
        config.pop(name)
    config.pop("multimodal_projector_bias")
    config["text_config"] |= {"_name_or_path": "org/vicuna", "torch_dtype": "float16"}
    config["vision_config"] |= {"projection_dim": 768, "vocab_size": 32_000}


def test_a_config_that_leaves_out_what_is_usual_is_enough(exported: TrainedJob, tmp_path: Path) -> None:
    export = tmp_path / "model"
    shutil.copytree(exported.export, export)
    rewrite(as_published)(export)
    checked(tmp_path, whole(export), str(export))
    assert torch.equal(loss(continued(export, train_task())), loss(answering(exported.export)))


def test_a_width_that_a_config_leaves_to_its_class_is_taken_from_the_projector(
    exported: TrainedJob, tmp_path: Path
) -> None:
    export = tmp_path / "model"
    shutil.copytree(exported.export, export)
    rewrite(lambda config: config["text_config"].pop("hidden_size"))(export)
    checked(tmp_path, whole(export), str(export))


def test_a_model_without_our_metadata_is_taken_at_its_word(exported: TrainedJob, tmp_path: Path) -> None:
    shutil.copytree(exported.export, tmp_path / "model")
    (tmp_path / "model" / "llava.json").unlink()
    checked(tmp_path, whole(tmp_path / "model"), str(tmp_path / "model"))


def projector(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """A projector that fits the tiny model, but for what is changed."""
    good = {"0.weight": (32, 24), "0.bias": (32,), "2.weight": (32, 32), "2.bias": (32,)}
    tensors = {name: torch.ones(shape) for name, shape in good.items()}
    named = {name.replace("_", "."): tensor for name, tensor in changes.items()}
    return {f"projector.model.{name}": t for name, t in (tensors | named).items() if t is not None}


BAD_PROJECTORS: list[tuple[dict[str, torch.Tensor], type[LlavaError], str]] = [
    (projector(**{"2_bias": None}), WeightsMismatch, r"projector\.model\.2\.bias is missing"),
    (projector(**{"4_bias": torch.ones(3)}), WeightsMismatch, r"projector\.model\.4\.bias is one too many"),
    (projector(**{"0_weight": torch.ones(32, 9)}), WeightsMismatch, r"0\.weight is \(32, 9\), not \(32, \d+\)"),
    (projector(**{"0_weight": torch.ones(32)}), WeightsMismatch, r"0\.weight is \(32,\), not \(32, \d+\)"),
    (projector(**{"2_bias": torch.full((32,), torch.nan)}), BadData, r"projector\.model\.2\.bias holds NaN"),
    ({"odd": torch.ones(1)}, MissingInput, "holds no projector"),
]


@pytest.mark.parametrize(("tensors", "error", "words"), BAD_PROJECTORS)
def test_a_projector_file_that_does_not_fit_is_refused_before_any_gpu(
    tensors: dict[str, torch.Tensor], error: type[LlavaError], words: str, exported: TrainedJob, tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(error, match=rf"^spec\.finetune\.pretrainedProjector: .*a\.safetensors: .*{words}"):
        checked(tmp_path, exported.task.model, str(tmp_path / "a.safetensors"))


def on_s3(server: S3Server, job: TrainedJob) -> dict[str, str]:
    """Put an export, a checkpoint and a file with a projector into a bucket; give their URIs by name."""
    bucket = server.new_bucket(f"from-{secrets.token_hex(4)}")
    single = job.folder / "files" / "mm_projector.bin"
    single.parent.mkdir(exist_ok=True)
    torch.save({f"model.mm_projector.{key[6:]}": t for key, t in job.model.projector.state_dict().items()}, single)
    places = {"export": job.export, "checkpoint": materialise(job.task.checkpoints[0]), "file": single.parent}
    uris = {name: server.put_folder(f"{bucket}/{name}", place) for name, place in places.items()}
    return uris | {"file": f"{uris['file']}/{single.name}"}


def test_projectors_are_found_on_a_server_too(exported: TrainedJob, s3_owner: S3Server, tmp_path: Path) -> None:
    uris, job = on_s3(s3_owner, exported), open_storage(str(tmp_path))
    want = exported.model.projector.state_dict()
    for name, uri in uris.items():
        stored = ProjectorPlace(uri, job, s3_owner.target(uri)).read()
        for key, tensor in want.items():
            torch.testing.assert_close(stored.tensors[f"projector.{key}"], tensor, msg=f"{name}: {key}")


def test_a_good_projector_file_passes(exported: TrainedJob, tmp_path: Path) -> None:
    torch.save({f"projector.{name}": tensor for name, tensor in exported.model.projector.state_dict().items()},
               tmp_path / "iter_1.pth")  # fmt: skip
    checked(tmp_path, exported.task.model, str(tmp_path / "iter_1.pth"))


def test_a_checkpoint_of_another_job_passes(exported: TrainedJob, tmp_path: Path) -> None:
    checked(tmp_path, exported.task.model, exported.task.checkpoints[0])


def test_a_checkpoint_of_another_model_is_refused_before_any_gpu(exported: TrainedJob, tmp_path: Path) -> None:
    other = copy.deepcopy(exported.model)
    other.projector.model[0] = torch.nn.Linear(5, 32)
    with pytest.raises(WeightsMismatch, match=r"^spec\.finetune\.pretrainedProjector: .* is \(32, 5\), not \(32, "):
        checked(tmp_path, exported.task.model, save(tmp_path / "other", other))


def test_nothing_there_is_said_with_the_field(exported: TrainedJob, tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"^spec\.finetune\.pretrainedProjector: .*absent"):
        checked(tmp_path, exported.task.model, str(tmp_path / "absent"))
