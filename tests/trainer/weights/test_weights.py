"""Tensors come back from every layout that they are stored in, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from llava_trainer.errors import BadData, MissingInput, WeightsMismatch
from llava_trainer.weights.reading import open_weights
from llava_trainer.weights.writing import write_weights

TENSORS = {f"layer.{i}.weight": torch.full((4, 4), float(i)) for i in range(5)}


def save_bin(folder: Path) -> None:
    torch.save(TENSORS, folder / "pytorch_model.bin")


def save_sharded_bin(folder: Path) -> None:
    names = list(TENSORS)
    for file, part in (("a.bin", names[:2]), ("b.bin", names[2:])):
        torch.save({name: TENSORS[name] for name in part}, folder / file)
    index = {name: "a.bin" if name in names[:2] else "b.bin" for name in names}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))


LAYOUTS = {
    "one safetensors file": lambda folder: write_weights(folder, TENSORS.items()),
    "safetensors shards": lambda folder: write_weights(folder, TENSORS.items(), shard_bytes=130),
    "one bin file": save_bin,
    "bin shards": save_sharded_bin,
}


@pytest.mark.parametrize("save", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_gives_the_tensors_back(save, tmp_path: Path) -> None:
    save(tmp_path)
    read = dict(open_weights(tmp_path).stream())
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in TENSORS.items())


def test_one_tensor_is_read_by_name(tmp_path: Path) -> None:
    write_weights(tmp_path, TENSORS.items(), shard_bytes=130)
    assert torch.equal(open_weights(tmp_path).read("layer.3.weight"), TENSORS["layer.3.weight"])


def test_shards_are_named_with_their_number(tmp_path: Path) -> None:
    write_weights(tmp_path, TENSORS.items(), shard_bytes=130)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
    ]


def test_a_name_cannot_be_written_twice(tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch, match="a: two"):
        write_weights(tmp_path, [("a", torch.ones(1)), ("a", torch.ones(1))])


def test_a_tensor_without_elements_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch, match=r"lora_A: a tensor of shape \(0, 4\)"):
        write_weights(tmp_path, [("lora_A", torch.ones(0, 4))])


def test_a_training_checkpoint_may_nest_its_state(tmp_path: Path) -> None:
    torch.save({"state_dict": TENSORS, "step": 3}, tmp_path / "iter_1.pth")
    assert set(open_weights(tmp_path / "iter_1.pth").names) == set(TENSORS)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("ran"),))


def test_a_pickle_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(BadData, match=r"pytorch_model\.bin: cannot be read as plain tensors"):
        open_weights(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_an_empty_folder_holds_no_weights(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="holds no weights"):
        open_weights(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_weights(tmp_path, TENSORS.items(), shard_bytes=130)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(MissingInput, match="model-00002-of-00003"):
        open_weights(tmp_path)


def test_a_cut_off_file_is_named(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-8])
    with pytest.raises(BadData, match=r"model\.safetensors"):
        open_weights(tmp_path)


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    write_weights(tmp_path, [("a", torch.zeros(2))])
    (tmp_path / "ordinary").touch()
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
