"""How a Hugging Face folder becomes a module: weights that do not cover it exactly are an error, never a warning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PretrainedConfig
from transformers.utils import logging

from llava_trainer.errors import BadData, MissingInput, WeightsMismatch
from llava_trainer.weights.soundness import name_some, require_numbers

__all__ = ["Stored", "load_pretrained", "read_config"]


@dataclass(frozen=True)
class Stored:
    """Tensors under the names of the class that they are for, and the folder that they were read from."""

    folder: Path
    tensors: dict[str, torch.Tensor]


def read_config(folder: Path, *, settings: dict[str, Any] | None = None) -> PretrainedConfig:
    """Read config.json without running any code of the folder; MissingInput or BadData when that fails.

    settings: what to take for its content, where the folder says it in other words.
    """
    if not (folder / "config.json").is_file():
        raise MissingInput(f"{folder}: holds no config.json; give a folder in Hugging Face's layout.")
    try:
        if settings is not None:
            return AutoConfig.for_model(**settings)
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, OSError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise BadData(f"{folder / 'config.json'}: cannot be used ({reason}); fetch the model again.") from error


def load_pretrained(
    cls: Any, source: Path | Stored, *, config: PretrainedConfig, dtype: torch.dtype, not_ours: tuple[str, ...] = ()
) -> Any:
    """Build `cls` from a folder's weights, or from tensors that were read from one.

    Keys that begin like one of `not_ours` may be left over. MissingInput without weights, WeightsMismatch naming keys
    that are missing, left over or of another shape, BadData for weights that are no numbers.
    """
    folder, tensors = (source.folder, source.tensors) if isinstance(source, Stored) else (source, None)
    logging.set_verbosity_error()  # keys that do not fit become our error below
    logging.disable_progress_bar()
    try:
        model, info = cls.from_pretrained(
            folder if tensors is None else None,
            config=config,
            dtype=dtype,
            state_dict=tensors,
            attn_implementation="sdpa",
            local_files_only=True,
            output_loading_info=True,
        )
    except OSError as error:
        raise MissingInput(f"{folder}: its weights cannot be read ({error}).") from error
    left_over = [key for key in info["unexpected_keys"] if not key.startswith(not_ours)]
    wrong = sorted({*info["missing_keys"], *left_over, *(entry[0] for entry in info["mismatched_keys"])})
    if wrong:
        raise WeightsMismatch(
            f"{folder}: {len(wrong)} keys do not fit {cls.__name__} ({name_some(wrong)}); "
            "use the weights of this model."
        )
    require_numbers(folder, model.named_parameters())
    return model
