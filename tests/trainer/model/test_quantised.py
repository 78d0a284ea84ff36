"""QLoRA computes with the values that a 4-bit layer would give, and libraries are imported only where they are used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from llava_contract.v1alpha1.training import TuningMode
from support.tiny_model import frozen, lora, pack, random_row, tiny_llava, train_task

QLORA = train_task(lora(mode=TuningMode.QLORA), frozen())
LAYER = "llm.model.layers.0.mlp.down_proj"


def test_base_weights_take_the_values_of_a_four_bit_layer(tmp_path: Path) -> None:
    import bitsandbytes

    plain = tiny_llava(tmp_path).get_submodule(LAYER)
    four_bit = bitsandbytes.nn.Linear4bit(48, 32, bias=False, quant_type="nf4", compute_dtype=torch.float32)
    four_bit.weight = bitsandbytes.nn.Params4bit(plain.weight.data.clone(), quant_type="nf4", requires_grad=False)
    ours = tiny_llava(tmp_path, task=QLORA).get_submodule(LAYER).base_layer
    inputs = torch.randn(3, 48, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours(inputs), four_bit.to("cpu")(inputs))
    assert not torch.equal(ours.weight, plain.weight)


def test_only_adapters_and_projector_learn(tmp_path: Path) -> None:
    model = tiny_llava(tmp_path, task=QLORA)
    model(pack([random_row(9, image=False, seed=0)])).sum().backward()
    assert {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None} == {
        "llm", "projector",
    }  # fmt: skip
    assert all("lora_" in name for name in model.trainable() if name.startswith("llm."))


def test_quantising_libraries_stay_out_of_plain_adapters() -> None:
    """Nothing is imported that is not used, and what was hidden meanwhile can be imported afterwards."""
    code = (
        "import sys; from llava_trainer.model.imports import import_libraries; "
        "import_libraries(adapters=True, quantised=False); "
        "print(*{'peft', 'bitsandbytes', 'sklearn', 'deepspeed'} & set(sys.modules)); import importlib.util; "
        "assert importlib.util.find_spec('bitsandbytes')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["peft"]
