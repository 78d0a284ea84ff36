"""A projector is found under every name that it is published by, and refused by the name that it bears."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from llava_trainer.errors import BadData, MissingInput, WeightsMismatch
from llava_trainer.formats.projector import read_projector
from llava_trainer.model.projector import Projector, require_fit

PROJECTOR = Projector(6, 8, depth=2)
TENSORS = {name.removeprefix("model."): tensor.detach() for name, tensor in PROJECTOR.named_parameters()}
LINEARS = {"0.": "linear_1.", "2.": "linear_2."}
BESIDE = {"llm.base_model.model.lm_head.lora_A.default.weight": torch.zeros(2)}
LLM = {"model.embed_tokens.weight": torch.zeros(2), "lm_head.weight": torch.zeros(2)}


def below(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in TENSORS.items()}


def linears(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + LINEARS[name[:2]] + name[2:]: tensor for name, tensor in TENSORS.items()}


SPELLINGS: dict[str, dict[str, torch.Tensor]] = {
    "xtuner": below("projector.model."),
    "xtuner, adapters beside": below("projector.model.") | BESIDE,
    "xtuner's folder": below("model."),
    "official": below("model.mm_projector."),
    "official, without its model": below("mm_projector."),
    "official, the LLM beside": below("model.mm_projector.") | LLM,
    "hugging face": linears("multi_modal_projector."),
    "hugging face, of release 5": linears("model.multi_modal_projector.") | LLM,
}


def written(folder: Path, tensors: Mapping[str, torch.Tensor], name: str) -> Path:
    """Save tensors as a file of that name, or as the weights of a folder."""
    file = folder / name if "." in name else folder / name / "model.safetensors"
    file.parent.mkdir(exist_ok=True)
    save_file(dict(tensors), file) if file.suffix == ".safetensors" else torch.save(dict(tensors), file)
    return folder / name


@pytest.mark.parametrize("name", ["a.pth", "mm_projector.bin", "a.safetensors", "projector"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_read_from_every_file(spelling: str, name: str, tmp_path: Path) -> None:
    stored = read_projector(written(tmp_path, SPELLINGS[spelling], name))
    require_fit(stored, PROJECTOR, source="a")
    for key, tensor in PROJECTOR.named_parameters():
        assert torch.equal(stored.tensors[f"projector.{key}"], tensor)


def test_what_xtuner_saves_is_read_below_its_state_dict(tmp_path: Path) -> None:
    torch.save({"state_dict": SPELLINGS["xtuner"], "meta": {"iter": 3}}, tmp_path / "iter_3.pth")
    assert len(read_projector(tmp_path / "iter_3.pth").tensors) == 4


@pytest.mark.parametrize(
    ("spelling", "change", "words"),
    [
        ("xtuner", {"projector.model.2.bias": None}, r"projector\.model\.2\.bias is missing"),
        ("xtuner", {"projector.model.4.bias": torch.ones(8)}, r"projector\.model\.4\.bias is one too many"),
        ("xtuner", {"projector.odd": torch.ones(8)}, r"projector\.odd is one too many"),
        ("official", {"model.mm_projector.0.weight": torch.ones(8, 5)},
         r"model\.mm_projector\.0\.weight is \(8, 5\), not \(8, 6\)"),
        ("xtuner's folder", {"model.odd": torch.ones(8)}, r"model\.odd is one too many"),
        ("hugging face", {"multi_modal_projector.linear_3.bias": torch.ones(8)}, r"linear_3\.bias is one too many"),
        ("hugging face", {"multi_modal_projector.linear_1.bias": None}, r"projector\.model\.0\.bias is missing"),
    ],
)  # fmt: skip
def test_a_projector_that_does_not_fit_is_refused_by_its_key(
    spelling: str, change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    tensors = {key: tensor for key, tensor in (SPELLINGS[spelling] | change).items() if tensor is not None}
    stored = read_projector(written(tmp_path, tensors, "a.safetensors"))
    with pytest.raises(WeightsMismatch, match=rf"^a: 1 keys do not fit .*{words}"):
        require_fit(stored, PROJECTOR, source="a")


def test_a_file_without_a_projector_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"holds no projector \(no key begins with projector\., model\.mm_proj"):
        read_projector(written(tmp_path, LLM, "a.safetensors"))


def test_code_in_a_pickle_is_never_run(tmp_path: Path) -> None:
    torch.save({"projector.model.0.weight": Path("a")}, tmp_path / "a.pth")
    with pytest.raises(BadData, match="cannot be read as plain tensors"):
        read_projector(tmp_path / "a.pth")
