"""How projectors are published: the names that their tensors bear in files of XTuner, of LLaVA and of Hugging Face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llava_trainer.errors import MissingInput
from llava_trainer.weights.reading import open_weights

if TYPE_CHECKING:
    import torch

__all__ = ["StoredProjector", "read_projector"]

_LAYERS: Final = {"multi_modal_projector.linear_1.": "projector.model.0.",
                  "multi_modal_projector.linear_2.": "projector.model.2."}  # fmt: skip

# What all names of a projector begin with, and what our model says instead; the first that a file knows counts.
_SPELLINGS: Final[tuple[tuple[str, Mapping[str, str]], ...]] = (
    ("projector.", {"projector.": "projector."}),
    ("model.mm_projector.", {"model.mm_projector.": "projector.model."}),
    ("mm_projector.", {"mm_projector.": "projector.model."}),
    ("multi_modal_projector.", _LAYERS),
    ("model.multi_modal_projector.", {f"model.{theirs}": ours for theirs, ours in _LAYERS.items()}),
    ("model.", {"model.": "projector.model."}),
)
_ALONE: Final = "model."
"""Of XTuner's projector folder, which holds nothing else; a language model's names begin so too."""


@dataclass(frozen=True)
class StoredProjector:
    """The tensors of a projector by our model's names, and what each is called where it lies."""

    tensors: Mapping[str, torch.Tensor]
    called: Mapping[str, str]


def read_projector(source: Path) -> StoredProjector:
    """Read the projector of a folder or a file, whatever else that holds.

    A tensor of it that our model does not know keeps its name. MissingInput where there is none, BadData when the
    file cannot be read.
    """
    files = open_weights(source)
    for root, prefixes in _SPELLINGS:
        found = {name: _renamed(name, prefixes) for name in files.names if name.startswith(root)}
        if found and (root != _ALONE or f"{root}0.weight" in found):
            tensors = dict(files.renamed(found).stream())
            return StoredProjector(tensors, {ours: theirs for theirs, ours in found.items()})
    raise MissingInput(
        f"{source}: holds no projector (no key begins with {', '.join(root for root, _ in _SPELLINGS[:-1])} or is "
        "model.0.weight); name a file or folder that does."
    )


def _renamed(name: str, prefixes: Mapping[str, str]) -> str:
    fitting = ((theirs, ours) for theirs, ours in prefixes.items() if name.startswith(theirs))
    return next((ours + name.removeprefix(theirs) for theirs, ours in fitting), name)
