"""What each tuning mode trains, and that ranks with nothing to learn still take part."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llava_contract.v1alpha1.training import TuningMode
from llava_trainer.data.sample import IGNORE
from llava_trainer.errors import InvalidSpec, MissingInput, Unsupported, WeightsMismatch
from llava_trainer.model.build import load_trained
from llava_trainer.model.llava import Llava
from support.tiny_model import frozen, full, lora, pack, random_pixels, random_row, tiny_llava, train_task

NO_IMAGE = [random_row(9, image=False, seed=0)]
NO_LABEL = [(ids, [IGNORE] * len(ids)) for ids, _ in [random_row(9, image=True, seed=0)]]


def parts(model: Llava) -> set[str]:
    """First word of every trainable parameter, with `lora` where it belongs to an adapter."""
    return {name.split(".")[0] + (" lora" if "lora_" in name else "") for name in model.trainable()}


@pytest.mark.parametrize(
    ("llm", "tower", "want"),
    [
        (frozen(), frozen(), {"projector"}),
        (full(), frozen(), {"projector", "llm"}),
        (lora(), frozen(), {"projector", "llm lora"}),
        (lora(), lora(), {"projector", "llm lora", "vision_tower lora"}),
        (full(), full(), {"projector", "llm", "vision_tower"}),
    ],
)
def test_a_mode_trains_what_it_says(llm, tower, want: set[str], tmp_path: Path) -> None:
    assert parts(tiny_llava(tmp_path, task=train_task(llm, tower))) == want


def test_adapters_go_to_every_linear_layer_but_the_head(tmp_path: Path) -> None:
    adapted = {
        name.split(".")[-4] for name in tiny_llava(tmp_path, task=train_task(lora())).trainable() if "lora_" in name
    }
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_adapters_start_without_effect(tmp_path: Path) -> None:
    rows = pack([random_row(9, image=True, seed=0)], random_pixels(1))
    plain, adapted = tiny_llava(tmp_path), tiny_llava(tmp_path, task=train_task(lora(), lora()))
    assert torch.equal(plain(rows), adapted(rows))


@pytest.mark.parametrize(("llm", "tower"), [(frozen(), frozen()), (lora(), lora()), (full(), full())])
@pytest.mark.parametrize("rows", [NO_IMAGE, NO_LABEL, [([0], [IGNORE])]], ids=["no image", "no label", "empty"])
def test_nothing_to_learn_gives_zeros_not_nothing(llm, tower, rows, tmp_path: Path) -> None:
    model = tiny_llava(tmp_path, task=train_task(llm, tower))
    loss = model(pack(rows, random_pixels(1))).sum()
    loss.backward()
    assert [name for name, parameter in model.trainable().items() if parameter.grad is None] == []
    assert all(not parameter.grad.any() for parameter in model.projector.parameters())
    assert rows is NO_IMAGE or loss.item() == 0


def test_each_part_is_called_once_whatever_the_pack_holds(tmp_path: Path) -> None:
    model = tiny_llava(tmp_path)
    calls: list[str] = []
    for name in ("vision_tower", "projector", "llm.model", "llm.lm_head"):
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    model(pack([([0], [IGNORE])]))
    assert calls == ["vision_tower", "projector", "llm.model", "llm.lm_head"]


def test_new_weights_depend_on_the_seed_only(tmp_path: Path) -> None:
    first, again, other = (tiny_llava(tmp_path, task=train_task(lora(), seed=seed)).trainable() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["projector.model.0.weight"], other["projector.model.0.weight"])


def test_frozen_weights_keep_half_precision_and_so_do_adapters(tmp_path: Path) -> None:
    model = tiny_llava(tmp_path, task=train_task(lora(), lora()), dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model(pack([random_row(9, image=True, seed=0)], random_pixels(1))).dtype == torch.float32


def test_trained_state_moves_to_a_model_of_the_same_tuning(tmp_path: Path) -> None:
    source, target = (tiny_llava(tmp_path, task=train_task(lora(), seed=seed)) for seed in (1, 2))
    load_trained(target, dict(source.trainable()))
    assert all(torch.equal(source.trainable()[name], tensor) for name, tensor in target.trainable().items())


def test_a_projector_moves_from_pretraining_to_finetuning(tmp_path: Path) -> None:
    pretrained, finetuned = tiny_llava(tmp_path, task=train_task(seed=1)), tiny_llava(tmp_path, task=train_task(lora()))
    load_trained(finetuned, dict(pretrained.trainable()), only="projector.")
    assert torch.equal(pretrained.projector.model[0].weight, finetuned.projector.model[0].weight)


@pytest.mark.parametrize("only", [None, "llm."])
def test_trained_state_of_another_tuning_is_refused_by_name(only: str | None, tmp_path: Path) -> None:
    plain, adapted = tiny_llava(tmp_path), tiny_llava(tmp_path, task=train_task(lora()))
    with pytest.raises(WeightsMismatch, match="lora_A"):
        load_trained(plain, dict(adapted.trainable()), only=only)


def test_a_tower_cannot_be_quantised(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"visionTower.mode"):
        tiny_llava(tmp_path, task=train_task(frozen(), lora(mode=TuningMode.QLORA)))


def test_a_layer_that_the_tower_does_not_have_is_refused(tmp_path: Path) -> None:
    task = train_task()
    with pytest.raises(InvalidSpec, match="visionFeatureLayer -9"):
        tiny_llava(
            tmp_path, task=task.model_copy(update={"model": task.model.model_copy(update={"vision_feature_layer": -9})})
        )


def test_an_llm_is_no_tower_and_a_tower_no_llm(tmp_path: Path) -> None:
    tiny_llava(tmp_path)
    (tmp_path / "swapped").mkdir()
    (tmp_path / "swapped" / "tower").symlink_to(tmp_path / "llama")
    with pytest.raises(Unsupported, match="vision tower of type llama"):
        tiny_llava(tmp_path / "swapped")


def test_missing_weights_are_named(tmp_path: Path) -> None:
    tiny_llava(tmp_path)
    (tmp_path / "llama" / "model.safetensors").unlink()
    with pytest.raises(MissingInput, match="llama"):
        tiny_llava(tmp_path)
