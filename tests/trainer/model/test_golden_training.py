"""Our first gradients equal those of XTuner's own training code, tensor by tensor."""

from __future__ import annotations

import pytest
import torch

from support.xtuner_cases import TUNING, XtunerCase

pytestmark = pytest.mark.golden


@pytest.mark.parametrize(
    "case", [XtunerCase(name) for name in TUNING if "accum" not in name], ids=lambda case: case.name
)
def test_first_gradients_equal_xtuners(case: XtunerCase) -> None:
    model, first = case.model(), next(case.updates())
    (batch,) = case.batches(first, is_packed=True)
    (model(batch).sum() / first.num_labels).backward()
    want = case.state("grads_update0_before_clip")
    for name, parameter in model.trainable().items():
        torch.testing.assert_close(parameter.grad, want.pop(name), rtol=1e-4, atol=1e-6, msg=name)
    assert not any(gradient.any() for gradient in want.values())  # what is left had no part in the loss
