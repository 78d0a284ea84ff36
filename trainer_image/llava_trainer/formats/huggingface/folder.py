"""How a stream of named weights and two base folders become a LlavaForConditionalGeneration folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from llava_trainer.errors import Unsupported
from llava_trainer.formats.huggingface.chat import ChatStyle
from llava_trainer.formats.huggingface.configs import read_configs
from llava_trainer.formats.huggingface.keys import HEAD, to_export
from llava_trainer.formats.huggingface.metadata import Metadata
from llava_trainer.formats.huggingface.vocabulary import grow, write_tokenizer
from llava_trainer.weights.writing import write_weights

__all__ = ["Design", "write_folder"]


@dataclass(frozen=True)
class Design:
    """What an export is made of beside its weights: `dtype` by torch's name, `num_rows` of the LLM's embedding."""

    llm_folder: Path
    tower_folder: Path
    num_rows: int
    style: ChatStyle
    stop_words: tuple[str, ...]
    feature_layer: int
    projector_depth: int
    dtype: str


def write_folder(
    folder: Path, tensors: Iterable[tuple[str, torch.Tensor]], *, design: Design, metadata: Metadata
) -> None:
    """Write weights, configs, tokenizer, processor and card; `tensors` come one by one under our model's names.

    Unsupported for a projector that this format cannot hold.
    """
    if design.projector_depth != 2:
        raise Unsupported(
            f"model.projectorDepth {design.projector_depth}: this format has two linear layers; train with 2."
        )
    configs = read_configs(design.llm_folder, design.tower_folder)
    jinja = design.style.to_jinja()
    vocabulary = write_tokenizer(
        folder, design.llm_folder, num_rows=design.num_rows, stop_words=design.stop_words, chat_template=jinja
    )
    configs.write(folder, vocabulary=vocabulary, feature_layer=design.feature_layer, dtype=design.dtype)
    (folder / "chat_template.jinja").write_text(jinja, encoding="utf-8")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": jinja}, indent=2), encoding="utf-8")
    dtype: torch.dtype = getattr(torch, design.dtype)
    exported = (
        (to_export(name), grow(name, tensor.to(dtype), vocabulary.size))
        for name, tensor in tensors
        if not (configs.is_tied and name == HEAD)
    )
    write_weights(folder, exported)
    metadata.write(folder)
