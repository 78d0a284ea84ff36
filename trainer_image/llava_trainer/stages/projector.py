"""Where a training finds the projector that it starts from, and whether that fits between its tower and its LLM.

A checkpoint of ours has a manifest; anything else is a file or a folder in which a projector is looked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import torch

from llava_contract.run import StorageTarget
from llava_trainer.checkpoint.layout import MANIFEST
from llava_trainer.checkpoint.restore import read_shapes, read_weights
from llava_trainer.formats.projector import StoredProjector, read_projector
from llava_trainer.model.preflight import Widths
from llava_trainer.model.projector import Projector, require_fit
from llava_trainer.storage import Storage, home_of, materialise
from llava_trainer.storage.location import Scheme, parse_location
from llava_trainer.weights.soundness import require_numbers

__all__ = ["ProjectorPlace", "check_projector"]

_FILES: Final = (".pth", ".pt", ".bin", ".safetensors")
_OURS: Final = "projector."


@dataclass(frozen=True)
class ProjectorPlace:
    """A URI, the storage of the job that names it, and the server that the URI is read from."""

    uri: str
    storage: Storage
    server: StorageTarget

    def read(self) -> StoredProjector:
        """Read the tensors; MissingInput, BadData or CorruptState when they are not there or damaged."""
        home = self._checkpoint_home()
        if home is None:
            return read_projector(self._copy())
        return _as_ours(read_weights(home, self.uri, only=_OURS))

    def look(self) -> StoredProjector:
        """Read what can be told before training: of a checkpoint, which may be large, names and shapes only."""
        home = self._checkpoint_home()
        if home is None:
            stored = read_projector(self._copy())
            require_numbers(self.uri, ((stored.called[name], tensor) for name, tensor in stored.tensors.items()))
            return stored
        shapes = read_shapes(home, self.uri)
        return _as_ours(
            {name: torch.empty(shape, device="meta") for name, shape in shapes.items() if name.startswith(_OURS)}
        )

    def _copy(self) -> Path:
        return materialise(self.uri, self.server)

    def _checkpoint_home(self) -> Storage | None:
        """The storage that holds the checkpoint; None when the URI names no checkpoint."""
        location = parse_location(self.uri)
        is_file = PurePosixPath(self.uri).suffix in _FILES
        is_file |= location.scheme is Scheme.FILE and not is_file and not self._copy().is_dir()
        if location.scheme is Scheme.HF or is_file or "/" not in location.name:
            return None
        home = home_of(self.uri, self.storage, self.server)
        return home if home.exists(f"{self.uri.rstrip('/')}/{MANIFEST}") else None


def check_projector(place: ProjectorPlace, *, widths: Widths, depth: int) -> None:
    """Refuse a projector that does not fit: WeightsMismatch, BadData or MissingInput names file and key."""
    stored = place.look()
    first = stored.tensors.get("projector.model.0.weight")
    # What a config leaves to its class is known when that is built.
    said = (0, 0) if first is None or first.ndim != 2 else tuple(first.shape)
    with torch.device("meta"):
        wanted = Projector(widths.tower or said[1], widths.llm or said[0], depth=depth)
    require_fit(stored, wanted, source=place.uri)


def _as_ours(tensors: dict[str, torch.Tensor]) -> StoredProjector:
    return StoredProjector(tensors, {name: name for name in tensors})
