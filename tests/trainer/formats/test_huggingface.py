"""Names, rows and settings of an export, from every spelling that base folders use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from llava_trainer.errors import BadData, MissingInput, WeightsMismatch
from llava_trainer.formats.huggingface.configs import read_configs
from llava_trainer.formats.huggingface.keys import EMBEDDING, from_llm, from_tower, to_export
from llava_trainer.formats.huggingface.metadata import read_metadata
from llava_trainer.formats.huggingface.vocabulary import Vocabulary, grow

OURS = {
    "llm.model.layers.3.mlp.up_proj.weight": "language_model.model.layers.3.mlp.up_proj.weight",
    "llm.lm_head.weight": "language_model.lm_head.weight",
    "vision_tower.model.encoder.layers.0.mlp.fc1.bias": "vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias",
    "projector.model.0.bias": "multi_modal_projector.linear_1.bias",
    "projector.model.2.weight": "multi_modal_projector.linear_2.weight",
}


@pytest.mark.parametrize(("ours", "exported"), OURS.items())
def test_names_are_those_of_the_class(ours: str, exported: str) -> None:
    assert to_export(ours) == exported


@pytest.mark.parametrize("name", ["vision_model.pre_layrnorm.bias", "pre_layrnorm.bias"])
def test_both_spellings_of_a_tower_are_known(name: str) -> None:
    assert from_tower(name) == "vision_tower.model.pre_layrnorm.bias"


@pytest.mark.parametrize(
    "name", ["text_model.final_layer_norm.bias", "logit_scale", "vision_model.embeddings.position_ids"]
)
def test_the_rest_of_a_clip_is_left_out(name: str) -> None:
    assert from_tower(name) is None


def test_buffers_of_old_releases_are_left_out() -> None:
    assert from_llm("model.layers.0.self_attn.rotary_emb.inv_freq") is None


@pytest.mark.parametrize("rename", [from_llm, from_tower, to_export])
def test_unknown_names_are_refused(rename: Any) -> None:
    with pytest.raises(WeightsMismatch, match=r"transformer\.wte"):
        rename("transformer.wte.weight")


def test_new_rows_lie_around_the_mean_and_never_change() -> None:
    old = torch.randn(70, 8, generator=torch.Generator().manual_seed(0))
    new = grow(EMBEDDING, old, 128)
    assert torch.equal(new[:70], old)
    assert torch.equal(new, grow(EMBEDDING, old, 128))
    torch.testing.assert_close(new[70:], old.mean(dim=0).expand(58, 8), rtol=0, atol=0.1)


def test_other_tensors_do_not_grow() -> None:
    assert len(grow("llm.model.norm.weight", torch.ones(32), 128)) == 32


ROPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "old spelling": ({"rope_theta": 5e5}, {"rope_theta": 5e5, "rope_scaling": None}),
    "new spelling": (
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
        {"rope_theta": 1e6, "rope_scaling": None},
    ),
    "old scaling": (
        {"rope_theta": 1e6, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
        {"rope_theta": 1e6, "rope_scaling": {"type": "dynamic", "rope_type": "dynamic", "factor": 2.0}},
    ),
    "new scaling": (
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}},
        {"rope_theta": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    ),
}


@pytest.mark.parametrize(("given", "want"), ROPES.values(), ids=ROPES)
def test_rope_is_written_for_old_and_new_readers(given: dict[str, Any], want: dict[str, Any], tmp_path: Path) -> None:
    text = written(tmp_path, {"model_type": "llama", **given})
    assert {key: text[key] for key in want} == want
    scaling = want["rope_scaling"] or {"rope_type": "default"}
    assert text["rope_parameters"] == {**scaling, "rope_theta": want["rope_theta"]}


def test_a_base_that_says_nothing_of_rope_keeps_its_familys_default(tmp_path: Path) -> None:
    assert not [key for key in written(tmp_path, {"model_type": "llama"}) if key.startswith("rope")]


def test_code_and_quantisation_of_the_base_are_left_behind(tmp_path: Path) -> None:
    text = written(tmp_path, {"model_type": "phi3", "auto_map": {"AutoConfig": "x.Y"}, "quantization_config": {}})
    assert not {"auto_map", "quantization_config"} & text.keys()


def test_bos_is_the_llms_own_where_the_tokenizer_has_none(tmp_path: Path) -> None:
    assert written(tmp_path, {"model_type": "qwen2", "bos_token_id": 6})["bos_token_id"] == 6


def test_an_end_is_the_llms_own_where_the_tokenizer_has_none(tmp_path: Path) -> None:
    assert written(tmp_path, {"model_type": "llama", "eos_token_id": [3, 4]}, stop_ids=())["eos_token_id"] == [3, 4]


def test_a_model_that_could_not_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no token that ends an answer"):
        written(tmp_path, {"model_type": "llama"}, stop_ids=())


def test_an_internlm2_is_exported_as_the_llama_that_it_runs_as(tmp_path: Path) -> None:
    scaling = {"type": "dynamic", "factor": 2.0}
    text = written(
        tmp_path,
        {
            "model_type": "internlm2",
            "num_attention_heads": 4,
            "bias": False,
            "rope_theta": 1e6,
            "rope_scaling": scaling,
        },
    )
    assert (text["model_type"], text["attention_bias"], text["num_key_value_heads"]) == ("llama", False, 4)
    assert text["rope_parameters"] == {**scaling, "rope_type": "dynamic", "rope_theta": 1e6}


def test_a_tower_without_class_token_keeps_all_its_rows(tmp_path: Path) -> None:
    written(tmp_path, {"model_type": "llama"}, tower="siglip")
    config, processor = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("config", "processor_config"))
    assert config["vision_config"]["model_type"] == "siglip_vision_model"
    assert config["vision_feature_select_strategy"] == processor["vision_feature_select_strategy"] == "full"
    assert processor["num_additional_image_tokens"] == 0


def written(
    folder: Path, llm: dict[str, Any], *, stop_ids: tuple[int, ...] = (7,), tower: str = "clip"
) -> dict[str, Any]:
    """Write an export's config.json for an LLM and give its text part."""
    for name, content in (
        ("llm", llm),
        ("tower", {"model_type": tower, "vision_config": {"image_size": 336, "patch_size": 14}}),
    ):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(content))
    (folder / "tower" / "preprocessor_config.json").write_text("{}")
    vocabulary = Vocabulary(image_id=8, pad_id=9, bos_id=None, stop_ids=stop_ids, size=64)
    configs = read_configs(folder / "llm", folder / "tower")
    configs.write(folder, vocabulary=vocabulary, feature_layer=-2, dtype="bfloat16")
    config = json.loads((folder / "config.json").read_text())
    assert config["image_seq_length"] == 576
    text: dict[str, Any] = config["text_config"]
    return text


def test_a_folder_without_metadata_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"llava\.json: is missing"):
        read_metadata(tmp_path)


def test_damaged_metadata_are_named(tmp_path: Path) -> None:
    (tmp_path / "llava.json").write_text('{"prompt": 1}')
    with pytest.raises(BadData, match=r"llava\.json: cannot be read"):
        read_metadata(tmp_path)
