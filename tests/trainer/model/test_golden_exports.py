"""Exports that XTuner wrote load into our model and say what XTuner's own model said."""

from __future__ import annotations

import json

import pytest
import torch

from llava_trainer.model.export import load_export
from support.golden import golden
from support.tiny_model import pack

pytestmark = pytest.mark.golden


@pytest.mark.parametrize("case", ["full_full", "qlora"])
def test_logits_equal_xtuners(case: str) -> None:
    expected = json.loads(golden("convert/expected.json").read_text())
    model = load_export(golden(f"convert/{case}_huggingface"), dtype=torch.float32, device=torch.device("cpu"))
    ids, pixels = expected["input_ids"], torch.tensor(expected["pixel_values"]).view(1, *expected["pixel_shape"])
    batch = pack([(ids, [-100] * len(ids))], pixels, patches=16)
    with torch.no_grad():
        embeddings = model.llm.embed(batch.tokens_T)
        embeddings[batch.image_slots_N] = model.encode_images(pixels)[0]
        logits = model.llm.lm_head.logits(model.llm.model(inputs_embeds=embeddings[None]).last_hidden_state[0])
    wanted = torch.tensor(expected["cases"][case]["logits"])
    torch.testing.assert_close(logits[-4:, :64], wanted, rtol=0, atol=2e-5)  # they are stored to five digits
