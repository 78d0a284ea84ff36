"""A tower is read from whatever folder holds one, and gives the rows that LLaVA reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from llava_trainer.errors import BadData, MissingInput, Unsupported, WeightsMismatch
from llava_trainer.model.vision import load_tower
from support.tiny_model import random_pixels, write_tower


def whole_clip(folder: Path) -> Path:
    """Save a CLIP with its text half around the tower of `write_tower`."""
    tower = transformers.CLIPVisionModel.from_pretrained(write_tower(folder / "tower"))
    text = {
        "vocab_size": 20,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    clip = transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text, vision_config=tower.config.to_dict(), projection_dim=8)
    )
    clip.vision_model.load_state_dict(tower.state_dict())
    clip.save_pretrained(folder / "clip")
    return folder / "clip"


@pytest.mark.parametrize("layer", [-1, -2, -4])
def test_features_are_the_hidden_state_without_its_class_token(layer: int, tmp_path: Path) -> None:
    folder = write_tower(tmp_path / "tower")
    model = transformers.CLIPVisionModel.from_pretrained(folder)
    hidden = model(random_pixels(2), output_hidden_states=True).hidden_states[layer]
    ours = load_tower(folder, feature_layer=layer, dtype=torch.float32)(random_pixels(2))
    torch.testing.assert_close(ours, hidden[:, 1:], rtol=1e-6, atol=1e-6)


def test_a_whole_clip_gives_its_tower(tmp_path: Path) -> None:
    clip = load_tower(whole_clip(tmp_path), feature_layer=-2, dtype=torch.float32)
    tower = load_tower(tmp_path / "tower", feature_layer=-2, dtype=torch.float32)
    assert torch.equal(clip(random_pixels(1)), tower(random_pixels(1)))


def test_a_tower_with_a_layer_missing_is_refused_by_key(tmp_path: Path) -> None:
    file = write_tower(tmp_path / "tower") / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if "layers.1.mlp.fc1" not in name}, file)
    with pytest.raises(WeightsMismatch, match=r"layers\.1\.mlp\.fc1\.bias"):
        load_tower(tmp_path / "tower", feature_layer=-2, dtype=torch.float32)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"config\.json"):
        load_tower(tmp_path, feature_layer=-2, dtype=torch.float32)


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type":')
    with pytest.raises(BadData, match=r"config\.json: cannot be read"):
        load_tower(tmp_path, feature_layer=-2, dtype=torch.float32)


def test_a_setting_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip_vision_model", "hidden_size": "wide"}')
    with pytest.raises(BadData, match=r"config\.json: cannot be used"):
        load_tower(tmp_path, feature_layer=-2, dtype=torch.float32)


def test_a_tower_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(Unsupported, match="of type no-such-model; use a CLIP or SigLIP tower"):
        load_tower(tmp_path, feature_layer=-2, dtype=torch.float32)


@pytest.mark.parametrize("layer", [-1, -3])
def test_a_siglip_keeps_every_patch(layer: int, tmp_path: Path) -> None:
    folder = write_tower(tmp_path / "tower", "siglip")
    model = transformers.SiglipVisionModel.from_pretrained(folder)
    hidden = model(random_pixels(2), output_hidden_states=True).hidden_states[layer]
    tower = load_tower(folder, feature_layer=layer, dtype=torch.float32)
    assert tower(random_pixels(2)).shape == (2, tower.num_patches, tower.width)
    torch.testing.assert_close(tower(random_pixels(2)), hidden, rtol=1e-6, atol=1e-6)


def test_a_whole_siglip_gives_its_tower(tmp_path: Path) -> None:
    tower = transformers.SiglipVisionModel.from_pretrained(write_tower(tmp_path / "tower", "siglip"))
    text = {
        "vocab_size": 20,
        "hidden_size": 24,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    whole = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=tower.config.to_dict()))
    whole.vision_model.load_state_dict(tower.state_dict())
    whole.save_pretrained(tmp_path / "whole")
    ours, alone = (load_tower(tmp_path / name, feature_layer=-2, dtype=torch.float32) for name in ("whole", "tower"))
    assert torch.equal(ours(random_pixels(1)), alone(random_pixels(1)))
