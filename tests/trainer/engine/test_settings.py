"""What DeepSpeed is told, and what it is never asked."""

from __future__ import annotations

import pytest

from llava_contract.v1alpha1.training import DeepspeedSpec, Precision
from llava_trainer.engine.zero import ZeroSettings
from llava_trainer.errors import Unsupported


def settings(stage: int, precision: Precision = Precision.FP32) -> ZeroSettings:
    return ZeroSettings(DeepspeedSpec(zero_stage=stage), precision, 1.0, 0.0)


def test_fp16_is_refused_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    with pytest.raises(Unsupported, match="fp16 needs a GPU"):
        settings(2, precision=Precision.FP16).require_possible()


@pytest.mark.parametrize(("precision", "runs_as"), [(Precision.FP32, 0), (Precision.BF16, 1)])
def test_stage_0_keeps_fp32_master_weights(precision: Precision, runs_as: int) -> None:
    assert settings(0, precision=precision).stage == runs_as


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_gradients_accumulate_in_fp32(stage: int) -> None:
    assert settings(stage, precision=Precision.BF16).config()["data_types"] == {"grad_accum_dtype": "fp32"}
