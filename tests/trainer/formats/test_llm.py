"""Folders that are laid out otherwise than the model that runs them give the same model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from llava_contract.families import LLMS as FAMILIES
from llava_trainer.errors import BadData, Unsupported, WeightsMismatch
from llava_trainer.formats.llm.config import _CONVERTED, read_llm_config
from llava_trainer.formats.llm.folder import as_stored, open_llm
from llava_trainer.formats.llm.internlm import to_llama
from llava_trainer.model.adapters import fold_trained
from llava_trainer.model.llm import Llm, load_llm
from support.golden import golden
from support.tiny_model import LLMS, PUBLISHED, write_llm

WANT = json.loads(golden("internlm2_tiny/expected.json").read_text())


@pytest.fixture
def internlm2(tmp_path: Path) -> Path:
    shutil.copy(golden("internlm2_tiny/model.safetensors"), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "internlm2", **WANT["config"]}))
    return tmp_path


def logits(llm: Llm) -> torch.Tensor:
    llm.use_padded_attention()
    ids = torch.tensor([WANT["input_ids"]])
    with torch.no_grad():
        return llm.lm_head.logits(llm.model(input_ids=ids, use_cache=False).last_hidden_state[0])


def test_internlm2_says_what_its_own_code_says(internlm2: Path) -> None:
    ours = logits(load_llm(internlm2, dtype=torch.float32))
    torch.testing.assert_close(ours, torch.tensor(WANT["logits_base"]), rtol=0, atol=1e-5)


def test_an_adapter_on_its_fused_layers_moves_exactly(internlm2: Path) -> None:
    llm = load_llm(internlm2, dtype=torch.float32)
    trained: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(golden("internlm2_tiny/adapter_model.safetensors")).items():
        inner = name.removeprefix("base_model.model.").replace(".weight", ".default.weight")
        trained |= {f"llm.{key}": part for key, part in to_llama(inner, tensor, num_heads=8, num_groups=2)}
    base = ((f"llm.{name}", tensor) for name, tensor in open_llm(internlm2).stream())
    scaling = {"llm": WANT["lora"]["lora_alpha"] / WANT["lora"]["r"]}
    llm.load_state_dict({key.removeprefix("llm."): part for key, part in fold_trained(base, trained, scaling=scaling)})
    torch.testing.assert_close(logits(llm), torch.tensor(WANT["logits_with_lora"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", PUBLISHED)
def test_a_published_folder_is_the_llama_it_was_made_of(family: str, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        llama = transformers.AutoModelForCausalLM.from_config(LLMS[family]())
    ours = load_llm(write_llm(tmp_path, family), dtype=torch.float32)
    assert {name: tensor.shape for name, tensor in ours.named_parameters()} == {
        name: tensor.shape for name, tensor in llama.named_parameters()
    }
    assert ours.config.rope_parameters["rope_type"] == "dynamic"


ROPES: dict[str, tuple[dict[str, Any], float, dict[str, Any] | None]] = {
    "internlm dynamic": (
        {"model_type": "internlm", "rotary": {"base": 5000, "type": "dynamic"}},
        5000.0,
        {"type": "dynamic", "factor": 1.0},
    ),
    "internlm plain": ({"model_type": "internlm", "rotary": {"base": 10000, "type": "origin"}}, 10000.0, None),
    "internlm old": ({"model_type": "internlm"}, 10000.0, None),
    "internlm2": (
        {"model_type": "internlm2", "rope_theta": 1e6, "rope_scaling": {"type": "dynamic", "factor": 3.0}},
        1e6,
        {"type": "dynamic", "factor": 3.0},
    ),
}


@pytest.mark.parametrize(("given", "theta", "scaling"), ROPES.values(), ids=ROPES)
def test_rope_is_said_in_llamas_words(given: dict[str, Any], theta: float, scaling: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 4, **given}))
    config = read_llm_config(tmp_path)
    assert (config["rope_theta"], config["rope_scaling"]) == (theta, scaling)


def test_code_of_a_folder_is_not_mentioned_again(tmp_path: Path) -> None:
    write_llm(tmp_path, "internlm2")
    assert not {"auto_map", "bias"} & open_llm(tmp_path).config.keys()


def test_a_config_without_heads_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "internlm2"}')
    with pytest.raises(BadData, match=r"config\.json: lacks a setting \('num_attention_heads'\)"):
        read_llm_config(tmp_path)


def test_rows_of_another_number_of_heads_are_refused() -> None:
    with pytest.raises(WeightsMismatch, match=r"wqkv\.weight: 30 rows .* 2 key-value heads with 2 queries"):
        list(to_llama("model.layers.0.attention.wqkv.weight", torch.zeros(30, 8), num_heads=4, num_groups=2))


def test_fused_experts_are_stored_one_by_one(tmp_path: Path) -> None:
    ours = load_llm(write_llm(tmp_path, "mixtral"), dtype=torch.float32)
    stored = dict(as_stored(ours.state_dict().items(), model_type="mixtral"))
    on_disk = load_file(tmp_path / "model.safetensors")
    assert stored.keys() == on_disk.keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in on_disk.items())


def test_every_family_that_runs_as_another_says_how() -> None:
    assert {name for name, family in FAMILIES.items() if family.runs_as != name} == set(_CONVERTED)


def test_every_family_has_a_tiny_model() -> None:
    assert FAMILIES.keys() <= LLMS.keys()


def test_a_model_of_no_family_is_refused_with_the_list_of_all(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(Unsupported, match=f"of type mamba; use one of {', '.join(FAMILIES)}"):
        load_llm(tmp_path, dtype=torch.float32)
