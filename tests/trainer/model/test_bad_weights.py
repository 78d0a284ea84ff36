"""Weights that do not belong together are refused with one sentence that names the first that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llava_trainer.errors import BadData, LlavaError, MissingInput, Unsupported, WeightsMismatch
from llava_trainer.model.adapters import fold_trained
from llava_trainer.model.build import load_trained
from llava_trainer.model.llm import load_llm
from llava_trainer.model.vision import load_tower
from llava_trainer.weights.soundness import require_numbers
from support.tiny_model import lora, tiny_llava, train_task, write_llm, write_tower


def spoil(folder: Path, value: float) -> None:
    """Put one odd value into the middle of the weights, in half precision as published models are."""
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()}
    name = next(name for name in sorted(tensors) if ".layers.1." in name and name.endswith("weight"))
    tensors[name].view(-1)[7] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def nothing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def of_another_class(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "t5"}')


def too_few(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(dict(list(tensors.items())[:-1]), folder / "model.safetensors", metadata={"format": "pt"})


FAULTS: dict[str, tuple[Callable[[Path], None], type[LlavaError], str]] = {
    "without weights": (nothing, MissingInput, "weights"),
    "of another class": (of_another_class, Unsupported, "of type t5; use"),
    "incomplete": (too_few, WeightsMismatch, "1 keys do not fit"),
    "NaN": (lambda folder: spoil(folder, float("nan")), BadData, r"layers\.1\..*weight holds NaN or infinity"),
    "infinity": (lambda folder: spoil(folder, float("-inf")), BadData, r"layers\.1\..*weight holds NaN or infinity"),
}


@pytest.mark.parametrize("family", ["llama", "internlm2"])
@pytest.mark.parametrize(("harm", "error", "words"), FAULTS.values(), ids=FAULTS)
def test_a_bad_llm_is_refused(
    harm: Callable[[Path], None], error: type[LlavaError], words: str, family: str, tmp_path: Path
) -> None:
    harm(write_llm(tmp_path / "llm", family))
    with pytest.raises(error, match=words):
        load_llm(tmp_path / "llm", dtype=torch.bfloat16)


@pytest.mark.parametrize("family", ["clip", "siglip"])
@pytest.mark.parametrize(("harm", "error", "words"), FAULTS.values(), ids=FAULTS)
def test_a_bad_tower_is_refused(
    harm: Callable[[Path], None], error: type[LlavaError], words: str, family: str, tmp_path: Path
) -> None:
    harm(write_tower(tmp_path / "tower", family))
    with pytest.raises(error, match=words):
        load_tower(tmp_path / "tower", feature_layer=-2, dtype=torch.bfloat16)


def test_large_weights_of_half_precision_are_numbers() -> None:
    require_numbers("somewhere", [("weight", torch.full((9, 9), 60_000.0, dtype=torch.float16))])


def test_a_projector_for_another_tower_is_refused_with_both_widths(tmp_path: Path) -> None:
    model = tiny_llava(tmp_path)
    given = dict(model.trainable()) | {"projector.model.0.weight": torch.zeros(32, 48)}
    with pytest.raises(WeightsMismatch, match=r"projector\.model\.0\.weight is \(32, 48\), not \(32, 24\)"):
        load_trained(model, given, only="projector.")


def test_trained_weights_with_nan_are_refused(tmp_path: Path) -> None:
    model = tiny_llava(tmp_path)
    given = dict(model.trainable()) | {"projector.model.2.bias": torch.full((32,), float("nan"))}
    with pytest.raises(BadData, match=r"projector\.model\.2\.bias holds NaN"):
        load_trained(model, given)


def test_an_adapter_of_another_base_is_refused_with_both_shapes(tmp_path: Path) -> None:
    trained = dict(tiny_llava(tmp_path, task=train_task(lora())).trainable())
    base = ((name.replace(".base_layer", ""), torch.zeros(7, 5)) for name in ["llm.model.layers.0.mlp.up_proj.weight"])
    with pytest.raises(WeightsMismatch, match=r"up_proj\.weight: trained as \(48, 32\), but \(7, 5\) in the base"):
        list(fold_trained(base, trained, scaling={"llm": 2.0}))


def test_an_adapter_with_layers_of_another_base_is_refused_by_name(tmp_path: Path) -> None:
    trained = dict(tiny_llava(tmp_path, task=train_task(lora())).trainable())
    plain = tiny_llava(tmp_path, "phi3", task=train_task(lora()))
    with pytest.raises(WeightsMismatch, match="do not match"):
        load_trained(plain, trained)
