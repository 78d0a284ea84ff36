"""How training state reaches the storage: every rank writes its share, then rank 0 the manifest that makes it count."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import torch
from safetensors.torch import save as to_safetensors

from llava_contract.result import CheckpointRef
from llava_contract.schema import Schema
from llava_trainer.checkpoint.layout import MANIFEST, Place, draw_incarnation
from llava_trainer.checkpoint.manifest import Manifest, StoredFile, digest
from llava_trainer.checkpoint.retention import prune
from llava_trainer.checkpoint.state import Fragment, Slot
from llava_trainer.ranks import Ranks, broadcast_text, gather_texts
from llava_trainer.storage import Storage

__all__ = ["Moment", "Saver", "agree_on_place"]

_FILE_BYTES: Final = 1 << 30  # bounds the host memory that a save takes
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where training stands: `step` of `total_steps` optimizer steps are done; next is `epoch_step` of `epoch`."""

    step: int
    total_steps: int
    epoch: int
    epoch_step: int


class _Share(Schema):
    """What one rank has written."""

    files: list[StoredFile]
    num_elements: int
    """Over all slots."""


@dataclass(frozen=True)
class Saver:
    """Writes the checkpoints of one gang; `global_batch` and `seed` are what the data cursor and random state mean."""

    storage: Storage
    ranks: Ranks
    place: Place
    """Its step is not used: each save has its own."""
    keep_last: int
    global_batch: int
    seed: int

    def save(
        self, fragments: Iterable[Fragment], shapes: Mapping[str, tuple[int, ...]], *, at: Moment
    ) -> CheckpointRef:
        """Write this rank's fragments and wait until the checkpoint is committed; every rank calls it at the same step.

        Raises what the storage raises; then there is no checkpoint, and the one before is still the newest.
        """
        place = self._place(at.step)
        shares = gather_texts(self._write_share(place, fragments).model_dump_json())
        commit = ""
        if self.ranks.rank == 0:
            told = [_Share.model_validate_json(share) for share in shares]
            _require_whole(told, shapes)
            commit = self._commit(place, [file for share in told for file in share.files], shapes=shapes, at=at)
        ref = CheckpointRef(uri=self.storage.uri_of(place.path), step=at.step, manifest_sha256=broadcast_text(commit))
        if self.ranks.rank == 0:
            _LOG.info("checkpoint of step %d committed: %s", at.step, ref.uri)
        return ref

    def prune(self, newest: CheckpointRef, *, best: CheckpointRef | None = None) -> None:
        """Drop what is too old once a checkpoint of this gang is committed; `best` stays, however old."""
        if self.ranks.rank == 0:
            prune(self.storage, self._place(newest.step), keep_last=self.keep_last, spared=best.uri if best else None)

    def _place(self, step: int) -> Place:
        return replace(self.place, step=step)

    def _write_share(self, place: Place, fragments: Iterable[Fragment]) -> _Share:
        files, num_elements = [], 0
        for index, part in enumerate(_parts(fragments)):
            files.append(self._write(place, index, part))
            num_elements += sum(fragment.span.size for fragment in part)
        return _Share(files=files, num_elements=num_elements)

    def _write(self, place: Place, index: int, part: list[Fragment]) -> StoredFile:
        kind = "weights" if part[0].span.slot is Slot.MASTER else "optimizer"
        name = f"{kind}-rank{self.ranks.rank:05d}-{index:05d}.safetensors"
        data = to_safetensors({fragment.span.key: fragment.values_N for fragment in part})
        self.storage.write(f"{place.path}/{name}", data, create_only=True)
        return StoredFile(name=name, size=len(data), sha256=digest(data))

    def _commit(
        self, place: Place, files: list[StoredFile], *, shapes: Mapping[str, tuple[int, ...]], at: Moment
    ) -> str:
        manifest = Manifest(
            job_uid=place.uid,
            stage=place.stage,
            attempt=place.attempt,
            step=at.step,
            total_steps=at.total_steps,
            epoch=at.epoch,
            epoch_step=at.epoch_step,
            global_batch=self.global_batch,
            world_size=self.ranks.world_size,
            seed=self.seed,
            parameters=shapes,
            files=tuple(files),
            time=datetime.now(UTC),
        )
        data = manifest.to_bytes()
        self.storage.write(f"{place.path}/{MANIFEST}", data, create_only=True)
        return digest(data)


def agree_on_place(stage: str, *, uid: str, attempt: int) -> Place:
    """Name this start of the gang: rank 0 draws, everyone knows; the step is filled in at each save."""
    return Place(stage, 0, uid, attempt, broadcast_text(draw_incarnation()))


def _require_whole(shares: list[_Share], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """An engine that shares parameters gives empty tensors where it is asked in the wrong way: no such checkpoint."""
    given = sum(share.num_elements for share in shares)
    wanted = len(Slot) * sum(math.prod(shape) for shape in shapes.values())
    assert given == wanted, f"ranks wrote {given:,} elements of training state, the parameters have {wanted:,}"


def _parts(fragments: Iterable[Fragment]) -> Iterator[list[Fragment]]:
    """Cut the stream where a file is full and where weights give way to optimizer state."""
    part: list[Fragment] = []
    size_bytes = 0
    for fragment in fragments:
        is_other_kind = part and (part[0].span.slot is Slot.MASTER) is not (fragment.span.slot is Slot.MASTER)
        if is_other_kind or size_bytes >= _FILE_BYTES:
            yield part
            part, size_bytes = [], 0
        assert fragment.values_N.dtype == torch.float32, f"{fragment.span}: {fragment.values_N.dtype}, not fp32"
        assert fragment.values_N.numel() == fragment.span.size > 0, f"{fragment.span}: {fragment.values_N.shape}"
        part.append(fragment)
        size_bytes += fragment.values_N.nbytes
    if part:
        yield part
