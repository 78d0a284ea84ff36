"""The export is the trained model, complete, under the names that other programs look for."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoProcessor, LlavaForConditionalGeneration

from llava_contract.v1alpha1.conversion import ExportDtype
from llava_trainer.data.tokenizer import Tokenizer
from llava_trainer.errors import CorruptState, InvalidSpec, Unsupported, WeightsMismatch
from llava_trainer.model.export import load_export
from support.tiny_model import (
    LLMS,
    PATCHES,
    VOCABULARY,
    frozen,
    full,
    lora,
    pack,
    random_pixels,
    random_row,
    train_task,
    write_llm,
    write_tower,
)
from support.trained import TrainedJob, trained_job

ROW = random_row(12, image=True, seed=3)
PIXELS = random_pixels(1)
TUNINGS = {
    "projector only": (frozen(), frozen()), "lora on the llm": (lora(), frozen()), "lora on both": (lora(), lora()),
    "full llm": (full(), frozen()), "everything": (full(), full()),
}  # fmt: skip


def our_logits(job: TrainedJob) -> torch.Tensor:
    """What the trained, unmerged model says, [T, V]."""
    batch, model = pack([ROW], PIXELS), job.model.eval()
    embeddings = model.llm.embed(batch.tokens_T).clone()
    embeddings[batch.image_slots_N] = model.encode_images(PIXELS)[0]
    hidden = model.llm.decode(
        embeddings, positions_T=batch.positions_T, cu_seqlens_S1=batch.cu_seqlens_S1, max_seqlen=batch.max_seqlen
    )
    return model.llm.lm_head.logits(hidden)


def transformers_logits(folder: Path) -> torch.Tensor:
    model, info = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert {kind: keys for kind, keys in info.items() if keys} == {}
    image = model.config.image_token_id
    ids = [image if token < 0 else token for token in ROW[0]]
    expanded = [copy for token in ids for copy in [token] * (PATCHES if token == image else 1)]
    logits = model(input_ids=torch.tensor([expanded]), pixel_values=PIXELS).logits[0]
    cap = getattr(model.config.text_config, "final_logit_softcapping", None)  # which LLaVA's class leaves out
    return torch.tanh(logits / cap) * cap if cap else logits


@pytest.mark.parametrize("tuning", TUNINGS)
def test_transformers_runs_the_model_that_was_trained(tuning: str, tmp_path: Path) -> None:
    job = trained_job(tmp_path, train_task(*TUNINGS[tuning]))
    job.convert()
    torch.testing.assert_close(transformers_logits(job.export)[:, :VOCABULARY], our_logits(job), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", [family for family in LLMS if family != "llama"])
def test_every_family_is_exported(family: str, tmp_path: Path) -> None:
    job = trained_job(tmp_path, train_task(lora()), family)
    job.convert()
    torch.testing.assert_close(transformers_logits(job.export)[:, :VOCABULARY], our_logits(job), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tuning", [lora(), full()], ids=["lora", "full"])
def test_a_siglip_is_exported(tuning, tmp_path: Path) -> None:
    write_tower(tmp_path / "tower", "siglip")
    job = trained_job(tmp_path, train_task(lora(), tuning))
    job.convert()
    torch.testing.assert_close(transformers_logits(job.export)[:, :VOCABULARY], our_logits(job), rtol=1e-5, atol=1e-5)
    assert num_image_tokens(job.export) == PATCHES


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> TrainedJob:
    job = trained_job(tmp_path_factory.mktemp("exported"), train_task(lora(), lora()))
    job.convert()
    return job


def test_our_own_reader_gives_the_same_model(exported: TrainedJob) -> None:
    model = load_export(exported.export, dtype=torch.float32, device=torch.device("cpu"))
    again = TrainedJob(exported.folder, model, exported.task)
    model.llm.use_packed_attention()
    torch.testing.assert_close(our_logits(again)[:, :VOCABULARY], our_logits(exported), rtol=1e-5, atol=1e-5)


def test_names_in_the_file_are_those_that_servers_look_for(exported: TrainedJob) -> None:
    with safe_open(exported.export / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
    assert {
        "language_model.model.embed_tokens.weight",
        "language_model.model.layers.1.self_attn.q_proj.weight",
        "language_model.lm_head.weight",
        "vision_tower.vision_model.embeddings.class_embedding",
        "vision_tower.vision_model.encoder.layers.2.mlp.fc1.bias",
        "multi_modal_projector.linear_1.weight",
        "multi_modal_projector.linear_2.bias",
    } <= names
    assert {name.split(".")[0] for name in names} == {"language_model", "vision_tower", "multi_modal_projector"}


def test_vocabulary_grows_to_a_multiple_of_64(exported: TrainedJob) -> None:
    weights = load_file(exported.export / "model.safetensors")
    config = json.loads((exported.export / "config.json").read_text())
    assert len(weights["language_model.model.embed_tokens.weight"]) == config["text_config"]["vocab_size"] == 128
    assert config["image_token_index"] < config["pad_token_id"] < 128


def test_rope_and_dtype_are_written_for_old_readers_too(exported: TrainedJob) -> None:
    text = json.loads((exported.export / "config.json").read_text())["text_config"]
    assert text["rope_theta"] == text["rope_parameters"]["rope_theta"] == 50_000.0
    assert text["torch_dtype"] == "float32"


def test_generation_always_knows_bos_eos_and_pad(exported: TrainedJob) -> None:
    config = json.loads((exported.export / "generation_config.json").read_text())
    assert config["bos_token_id"] == 1
    assert config["eos_token_id"] == [2]
    assert config["pad_token_id"] == Tokenizer(exported.export).token_id("<pad>")


def test_processor_makes_one_row_per_patch(exported: TrainedJob) -> None:
    assert num_image_tokens(exported.export) == PATCHES


def num_image_tokens(folder: Path) -> int:
    """How many rows of one image a prompt holds that the export's own processor wrote."""
    processor = AutoProcessor.from_pretrained(folder)
    inputs = processor(text="<image> What colour", images=Image.new("RGB", (20, 16)), return_tensors="pt")
    image_id = json.loads((folder / "config.json").read_text())["image_token_index"]
    return int((inputs["input_ids"] == image_id).sum())


def test_processor_takes_several_images_where_the_text_has_them(exported: TrainedJob) -> None:
    processor = AutoProcessor.from_pretrained(exported.export)
    images = [Image.new("RGB", (20, 16), colour) for colour in ("red", "blue")]
    inputs = processor(text="<image> this <image> colour", images=images, return_tensors="pt")
    image_id = json.loads((exported.export / "config.json").read_text())["image_token_index"]
    runs = [(is_image, len(list(run))) for is_image, run in groupby((inputs["input_ids"][0] == image_id).tolist())]
    assert [length for is_image, length in runs if is_image] == [PATCHES, PATCHES]
    assert len(inputs["pixel_values"]) == 2


def test_chat_template_writes_what_training_wrote(exported: TrainedJob) -> None:
    processor = AutoProcessor.from_pretrained(exported.export)
    image, words = {"type": "image"}, {"type": "text", "text": "What ?"}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "red"}]}
    chat = [{"role": "user", "content": [image, words]}, answer, {"role": "user", "content": [words]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    assert text == "<s>USER: <image>\nWhat ? ASSISTANT:red</s>\n<s>USER: What ? ASSISTANT:"


def test_tokenizer_gives_the_ids_of_training(exported: TrainedJob) -> None:
    text = "What colour is this ? <unk> </s> red"
    processor = AutoProcessor.from_pretrained(exported.export)
    ours = Tokenizer(exported.folder / "llama").encode(text)
    assert processor.tokenizer.encode(text, add_special_tokens=False) == ours == Tokenizer(exported.export).encode(text)


def test_half_precision_is_asked_for_and_given(tmp_path: Path) -> None:
    job = trained_job(tmp_path, train_task(lora()))
    job.convert(dtype=ExportDtype.BF16)
    assert {tensor.dtype for tensor in load_file(job.export / "model.safetensors").values()} == {torch.bfloat16}


def test_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    job = trained_job(tmp_path, train_task(lora()))
    job.convert()
    first = {path.name: path.read_bytes() for path in job.export.iterdir()}
    job.convert()
    assert {path.name: path.read_bytes() for path in job.export.iterdir()} == first


def test_a_failed_export_leaves_nothing_behind(tmp_path: Path) -> None:
    job = trained_job(tmp_path, train_task(lora()))
    with pytest.raises(Unsupported, match="projectorDepth 3"):
        job.convert(model=job.task.model.model_copy(update={"projector_depth": 3}))
    assert list(job.export.parent.iterdir()) == []


@pytest.mark.parametrize("mode", [frozen(), full()])
def test_a_checkpoint_of_another_tuning_is_refused(mode, tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch, match="llm: the checkpoint holds adapters"):
        trained_job(tmp_path, train_task(lora())).convert(llm=mode)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    job, other = trained_job(tmp_path, train_task(lora())), write_llm(tmp_path / "phi3", "phi3")
    with pytest.raises(WeightsMismatch, match="no place in the base weights"):
        job.convert(model=job.task.model.model_copy(update={"llm": str(other)}))


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    job = trained_job(tmp_path, train_task(lora()))
    weights = next((tmp_path / "job" / "checkpoints").rglob("weights-*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(CorruptState, match="SHA-256"):
        job.convert()


def test_nothing_trained_is_nothing_to_convert(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="no checkpoint"):
        trained_job(tmp_path, train_task()).convert(checkpoints=[])


def test_converting_imports_no_large_library() -> None:
    code = "import sys, llava_trainer.stages.convert; print({'transformers', 'peft', 'deepspeed'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "set()"
