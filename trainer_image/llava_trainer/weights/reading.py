"""Which file of a folder holds which tensor, and how one is read without reading the others.

safetensors first, in one file or by its index; else PyTorch's .bin and .pth, whose pickles are read weights-only.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open

from llava_trainer.errors import BadData, MissingInput

__all__ = ["WeightFiles", "open_weights"]

_SINGLE: Final = ("model.safetensors", "pytorch_model.bin")
_INDEX: Final = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_NESTED: Final = ("state_dict", "model", "module")


@dataclass(frozen=True)
class WeightFiles:
    """The tensors of a model by name, each with the file that holds it and, where that differs, its name there."""

    source: Path
    file_of: Mapping[str, Path]
    stored_as: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the files."""
        return tuple(self.file_of)

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor; MissingInput when there is none of that name."""
        if name not in self.file_of:
            raise MissingInput(f"{self.source}: holds no tensor {name}; give the folder of a whole model.")
        return dict(self._read(self.file_of[name], [name]))[name]

    def stream(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Read all tensors, one in memory at a time (a .bin: one file at a time)."""
        for file in dict.fromkeys(self.file_of.values()):
            yield from self._read(file, [name for name, place in self.file_of.items() if place == file])

    def renamed(self, names: Mapping[str, str]) -> WeightFiles:
        """Look at some of the tensors under other names; `names`: the new one by the old one."""
        file_of = {new: self.file_of[old] for old, new in names.items()}
        return WeightFiles(self.source, file_of, {new: self.stored_as.get(old, old) for old, new in names.items()})

    def _read(self, file: Path, names: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
        stored = [self.stored_as.get(name, name) for name in names]
        yield from ((name, tensor) for name, (_, tensor) in zip(names, _read_file(file, stored), strict=True))


def open_weights(source: Path) -> WeightFiles:
    """Find the weights of a folder, or of one .safetensors, .bin or .pth file.

    MissingInput when there are none, BadData when a file cannot be read.
    """
    if source.is_file():
        return WeightFiles(source, dict.fromkeys(_names(source), source))
    for name in _INDEX:
        if (source / name).is_file():
            return WeightFiles(source, _read_index(source / name))
    for name in _SINGLE:
        if (source / name).is_file():
            return WeightFiles(source, dict.fromkeys(_names(source / name), source / name))
    raise MissingInput(f"{source}: holds no weights ({' or '.join(_SINGLE)}, or their index); give a model's folder.")


def _read_index(index: Path) -> dict[str, Path]:
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        file_of = {str(name): index.parent / str(file) for name, file in entries.items()}
    except (ValueError, KeyError, AttributeError, OSError) as error:
        raise BadData(f"{index}: no index of weights ({error!r}); copy the model again.") from error
    missing = sorted({file.name for file in file_of.values() if not file.is_file()})
    if missing:
        raise MissingInput(f"{index}: {', '.join(missing)} is missing beside it; copy the model again.")
    return dict(sorted(file_of.items(), key=lambda item: item[1]))


def _names(file: Path) -> list[str]:
    if file.suffix == ".safetensors":
        with _opened(file) as opened:
            return list(opened.keys())
    return list(_unpickle(file))


def _read_file(file: Path, names: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
    if file.suffix != ".safetensors":
        tensors = _unpickle(file)
        yield from ((name, tensors[name]) for name in names)
        return
    with _opened(file) as opened:
        for name in names:
            try:
                yield name, opened.get_tensor(name)
            except SafetensorError as error:
                raise BadData(f"{file}: {name} cannot be read ({error}); copy the model again.") from error


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise BadData(f"{file}: no safetensors file ({error}); copy the model again.") from error


def _unpickle(file: Path) -> dict[str, torch.Tensor]:
    """Read a state dict, bare or under one of its usual names; whatever else a pickle may hold is refused."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise BadData(
            f"{file}: cannot be read as plain tensors ({_first_line(error)}); save it as safetensors."
        ) from error
    for key in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise BadData(f"{file}: holds a {type(content).__name__}, no weights by name; save it as safetensors.")
    return {str(name): tensor for name, tensor in content.items() if isinstance(tensor, torch.Tensor)}


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]
