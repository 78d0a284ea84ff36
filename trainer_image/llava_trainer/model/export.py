"""How an exported folder becomes a model that answers: its parts, each read strictly, joined as in training."""

from __future__ import annotations

from pathlib import Path

import torch

from llava_trainer.formats.projector import read_projector
from llava_trainer.model.llava import Llava
from llava_trainer.model.llm import load_llm
from llava_trainer.model.preflight import feature_layer_of
from llava_trainer.model.projector import Projector, require_fit
from llava_trainer.model.vision import load_tower

__all__ = ["load_export"]


def load_export(folder: Path, *, dtype: torch.dtype, device: torch.device) -> Llava:
    """Read a LlavaForConditionalGeneration folder for answering: in evaluation mode, with padded attention.

    MissingInput, BadData, Unsupported or WeightsMismatch when it cannot be read completely.
    """
    tower = load_tower(folder, feature_layer=feature_layer_of(folder), dtype=dtype)
    llm = load_llm(folder, dtype=dtype)
    projector, stored = Projector(tower.width, llm.width, depth=2).to(dtype), read_projector(folder)
    require_fit(stored, projector, source=str(folder))
    projector.load_state_dict({name.removeprefix("projector."): tensor for name, tensor in stored.tensors.items()})
    llm.use_padded_attention()
    model = Llava(vision_tower=tower, projector=projector, llm=llm)
    model.to(device).eval()
    return model
