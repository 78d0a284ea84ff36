"""The weights of a language model's folder, one by one, as the model that runs them names and shapes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from llava_trainer.formats.huggingface.keys import COMPUTED
from llava_trainer.formats.huggingface.parts import Part, is_whole, open_part_weights, part_settings
from llava_trainer.formats.llm import mixtral
from llava_trainer.formats.llm.config import family_of, read_llm_config
from llava_trainer.formats.llm.internlm import to_llama
from llava_trainer.weights.reading import WeightFiles

__all__ = ["LlmFolder", "as_stored", "open_llm"]

_EMBEDDING = "embed_tokens.weight"


@dataclass(frozen=True)
class LlmFolder:
    """`config` in the words of the running model; `published_as`: the model_type that its publisher says."""

    folder: Path
    config: dict[str, Any]
    published_as: str

    @cached_property
    def weights(self) -> WeightFiles:
        """The tensors as they are stored; MissingInput or BadData when they cannot be read."""
        return open_part_weights(self.folder, Part.LLM)

    @property
    def is_converted(self) -> bool:
        """Whether the folder is not that of the running model: of another type, or of a whole LLaVA."""
        return bool(self.published_as != self.config["model_type"]) or is_whole(self.folder)

    @property
    def num_rows(self) -> int:
        """Rows of the embedding."""
        name = next((name for name in self.weights.names if name.endswith(("tok_embeddings.weight", _EMBEDDING))), "")
        return len(self.weights.read(name or f"model.{_EMBEDDING}"))

    def stream(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Read all weights, one stored tensor in memory at a time."""
        for name, tensor in self.weights.stream():
            if name.endswith(COMPUTED):
                continue
            if self.published_as == "internlm2":
                num_heads, num_groups = self.config["num_attention_heads"], self.config["num_key_value_heads"]
                yield from to_llama(name, tensor, num_heads=num_heads, num_groups=num_groups)
            else:
                yield name, tensor


def open_llm(folder: Path) -> LlmFolder:
    """Open the folder of an LLM, or of a whole LLaVA model.

    MissingInput, BadData or Unsupported when it is none that we train.
    """
    published_as = family_of(folder, part_settings(folder, Part.LLM)).model_type
    return LlmFolder(folder, read_llm_config(folder), published_as)


def as_stored(tensors: Iterable[tuple[str, torch.Tensor]], *, model_type: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Name tensors of a running model as the files of its type do."""
    for name, tensor in tensors:
        if model_type == "mixtral":
            yield from mixtral.to_stored(name, tensor)
        else:
            yield name, tensor
