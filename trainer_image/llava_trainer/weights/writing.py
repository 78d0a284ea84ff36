"""How tensors that come one by one become safetensors files of bounded size with an index, in Hugging Face's layout."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save_file

from llava_trainer.errors import WeightsMismatch

__all__ = ["write_weights"]

_SHARD_BYTES: Final = 4_000_000_000


def write_weights(
    folder: Path, tensors: Iterable[tuple[str, torch.Tensor]], *, shard_bytes: int = _SHARD_BYTES
) -> list[str]:
    """Write model.safetensors, or shards of about `shard_bytes` with their index, and give the names in order.

    At most one shard is in memory. WeightsMismatch when a name comes twice or a tensor has no element.
    """
    shards: list[list[str]] = []
    waiting: dict[str, torch.Tensor] = {}
    total_bytes = waiting_bytes = 0

    def flush() -> None:
        nonlocal waiting, waiting_bytes
        _save(waiting, _draft(folder, len(shards)))
        shards.append(list(waiting))
        waiting, waiting_bytes = {}, 0

    seen: set[str] = set()
    for name, tensor in tensors:
        if name in seen:
            raise WeightsMismatch(f"{name}: two tensors of that name for one model; give each part once.")
        if not tensor.numel():
            raise WeightsMismatch(f"{name}: a tensor of shape {tuple(tensor.shape)}; give the whole weights.")
        seen.add(name)
        size_bytes = tensor.numel() * tensor.element_size()
        if waiting and waiting_bytes + size_bytes > shard_bytes:
            flush()
        waiting[name] = tensor.contiguous()
        waiting_bytes, total_bytes = waiting_bytes + size_bytes, total_bytes + size_bytes
    flush()
    _name_shards(folder, shards, total_bytes)
    return [name for names in shards for name in names]


def _save(tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Write one file with the rights that this process gives to any other; safetensors alone leaves it to its owner."""
    file.touch()
    rights = file.stat().st_mode
    save_file(tensors, file, metadata={"format": "pt"})
    file.chmod(rights)


def _draft(folder: Path, index: int) -> Path:
    return folder / f"draft-{index:05d}.safetensors"


def _name_shards(folder: Path, shards: list[list[str]], total_bytes: int) -> None:
    """Give files their final names, which hold the number of shards, known only at the end."""
    if len(shards) == 1:
        _draft(folder, 0).rename(folder / "model.safetensors")
        return
    file_of: dict[str, str] = {}
    for index, names in enumerate(shards):
        file = f"model-{index + 1:05d}-of-{len(shards):05d}.safetensors"
        _draft(folder, index).rename(folder / file)
        file_of |= dict.fromkeys(names, file)
    content = {"metadata": {"total_size": total_bytes}, "weight_map": file_of}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
