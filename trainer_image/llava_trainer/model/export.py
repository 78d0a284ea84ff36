"""How an exported folder becomes a model that answers: transformers' modules, filled by our own key names, strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING

from llava_contract.families import LLMS
from llava_trainer.errors import BadData, Unsupported
from llava_trainer.formats.huggingface.folder import read_tensors
from llava_trainer.model.llava import Llava
from llava_trainer.model.llm import Llm
from llava_trainer.model.preflight import require_tower
from llava_trainer.model.pretrained import Stored, load_pretrained, read_config
from llava_trainer.model.projector import Projector
from llava_trainer.model.vision import VisionTower

__all__ = ["load_export"]


def load_export(folder: Path, *, dtype: torch.dtype, device: torch.device) -> Llava:
    """Read a LlavaForConditionalGeneration folder for answering: in evaluation mode, with padded attention.

    MissingInput, BadData, Unsupported or WeightsMismatch when it cannot be read completely.
    """
    config = read_config(folder)
    if config.model_type != "llava" or config.text_config.model_type not in LLMS:
        raise Unsupported(f"{folder}: a model of type {config.model_type}; give an exported LLaVA model.")
    family = require_tower(folder, config.vision_config.model_type)
    if config.vision_feature_select_strategy != family.rows_kept or not isinstance(config.vision_feature_layer, int):
        raise Unsupported(
            f"{folder}: reads several layers, or not exactly the patches, of the tower; give a model with one layer."
        )
    tensors = read_tensors(folder)

    def fill(cls: Any, prefix: str, part: Any) -> Any:
        state = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        return load_pretrained(cls, Stored(folder, state), config=part, dtype=dtype)

    llm = Llm(fill(MODEL_FOR_CAUSAL_LM_MAPPING[type(config.text_config)], "llm.", config.text_config))
    tower = VisionTower(
        fill(MODEL_MAPPING[type(config.vision_config)], "vision_tower.model.", config.vision_config),
        feature_layer=config.vision_feature_layer,
        has_class_token=family.has_class_token,
    )
    projector = Projector(tower.width, llm.width, depth=2).to(dtype)
    rows = {
        name.removeprefix("projector."): tensor for name, tensor in tensors.items() if name.startswith("projector.")
    }
    try:
        projector.load_state_dict(rows)
    except RuntimeError as error:
        raise BadData(f"{folder}: its projector does not fit ({error}); export the model again.") from error
    llm.use_padded_attention()
    model = Llava(vision_tower=tower, projector=projector, llm=llm)
    model.to(device).eval()
    return model
