"""Folders that cannot be trained are refused from their files alone, before torch is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llava_contract.families import LLMS
from llava_trainer.errors import BadData, InvalidSpec, LlavaError, MissingInput, Unsupported
from llava_trainer.model.preflight import check_llm, check_tower
from support.tree import ROOT

TOWERS = ROOT / "examples/tiny/towers"


@pytest.fixture
def llm(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TOWERS / "llama", tmp_path / "llm"))


@pytest.fixture
def tower(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TOWERS / "clip", tmp_path / "tower"))


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100_000])


def scramble(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"<html>404 Not Found</html>")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def other_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))


def lost_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


FAULTS = [
    (cut, BadData, "has 100,000 bytes of"),
    (scramble, BadData, "is no whole safetensors file"),
    (no_weights, MissingInput, "has no weights"),
    (no_config, MissingInput, "has no config.json"),
    (other_type, Unsupported, "of type mamba"),
    (lost_shard, MissingInput, "model-00002-of-00002.safetensors: is named in"),
]


@pytest.mark.parametrize(("harm", "error", "words"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_a_bad_llm_is_refused(llm: Path, harm: Callable[[Path], None], error: type[LlavaError], words: str) -> None:
    harm(llm)
    with pytest.raises(error, match=words):
        check_llm(llm, num_pieces=10)


@pytest.mark.parametrize(("harm", "error", "words"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_a_bad_tower_is_refused(tower: Path, harm: Callable[[Path], None], error: type[LlavaError], words: str) -> None:
    harm(tower)
    with pytest.raises(error, match=words):
        check_tower(tower, feature_layer=-2, image_size=32)


def test_the_shipped_towers_pass(llm: Path, tower: Path) -> None:
    check_llm(llm, num_pieces=567)
    check_tower(tower, feature_layer=-2, image_size=32)


def test_a_tokenizer_of_another_model_is_refused(llm: Path) -> None:
    with pytest.raises(BadData, match="the tokenizer has 32,000 pieces"):
        check_llm(llm, num_pieces=32_000)


@pytest.mark.parametrize(
    ("layer", "size", "error"), [(-40, 32, InvalidSpec), (-2, 336, BadData)], ids=["layer out of range", "image size"]
)
def test_settings_that_do_not_fit_the_tower_are_refused(
    tower: Path, layer: int, size: int, error: type[LlavaError]
) -> None:
    with pytest.raises(error):
        check_tower(tower, feature_layer=layer, image_size=size)


@pytest.mark.parametrize("family", LLMS)
def test_every_family_passes(llm: Path, family: str) -> None:
    (llm / "config.json").write_text(json.dumps({"model_type": family, "num_attention_heads": 8, "vocab_size": 567}))
    check_llm(llm, num_pieces=567)


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"model_type": "siglip", "vision_config": {"image_size": 384, "num_hidden_layers": 27}}, 384),
        ({"model_type": "siglip_vision_model"}, 224),
        ({"model_type": "clip", "vision_config": {"image_size": 336}}, 336),
    ],
)
def test_every_kind_of_tower_passes(tower: Path, config: dict[str, Any], size: int) -> None:
    (tower / "config.json").write_text(json.dumps(config))
    check_tower(tower, feature_layer=-2, image_size=size)


def test_a_shard_of_pickles_that_is_lost_is_named(llm: Path) -> None:
    index = {"weight_map": {"a": "pytorch_model-00002-of-00002.bin"}}
    (llm / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(MissingInput, match=r"pytorch_model-00002-of-00002\.bin: is named in"):
        check_llm(llm, num_pieces=567)


def test_a_model_of_no_family_is_told_which_there_are(llm: Path) -> None:
    other_type(llm)
    with pytest.raises(Unsupported, match=f"of type mamba; use one of {', '.join(LLMS)}"):
        check_llm(llm, num_pieces=10)
