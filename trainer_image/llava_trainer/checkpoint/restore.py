"""Which checkpoint to go on from, and how its pieces become whole again on any number of ranks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open

from llava_contract.result import CheckpointRef
from llava_trainer.checkpoint.layout import MANIFEST, Place, stage_prefix
from llava_trainer.checkpoint.manifest import Manifest, StoredFile, digest
from llava_trainer.checkpoint.state import Slot, Span
from llava_trainer.errors import CorruptState, MissingInput
from llava_trainer.ranks import Ranks, broadcast_text, gather_texts
from llava_trainer.storage import Storage

__all__ = ["Checkpoint", "Wanted", "find_newest", "open_checkpoint", "read_shapes", "read_weights"]

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been verified; `rejected` counts the newer ones that did not verify."""

    storage: Storage
    path: str
    manifest: Manifest
    manifest_sha256: str
    rejected: int = 0

    @property
    def ref(self) -> CheckpointRef:
        """How the contract names it."""
        return CheckpointRef(
            uri=self.storage.uri_of(self.path), step=self.manifest.step, manifest_sha256=self.manifest_sha256
        )

    def reader(self, prefix: str = "") -> SpanReader:
        """Open its files for reading by span; only files whose name starts with `prefix`."""
        files = [file.name for file in self.manifest.files if file.name.startswith(prefix)]
        return SpanReader(self.storage, self.path, files)


class SpanReader:
    """Puts spans together out of the pieces in a checkpoint's files; call it with the span that is wanted."""

    def __init__(self, storage: Storage, path: str, files: Sequence[str]) -> None:
        self._place = path
        self._pieces: dict[tuple[Slot, str], list[tuple[Span, Any]]] = {}
        for name in files:
            file: Any = safe_open(storage.local_path(f"{path}/{name}"), framework="pt")
            for key in file.keys():  # noqa: SIM118  (not a mapping)
                span = Span.from_key(key, file.get_slice(key).get_shape()[0])
                self._pieces.setdefault((span.slot, span.name), []).append((span, file))

    def __call__(self, wanted: Span) -> torch.Tensor:
        """values_N of the span, fp32 on the host; CorruptState when a part of it was never saved."""
        values_N = torch.empty(wanted.size, dtype=torch.float32)  # noqa: N806
        end, filled = wanted.start + wanted.size, 0
        for piece, file in self._pieces.get((wanted.slot, wanted.name), []):
            low, high = max(wanted.start, piece.start), min(end, piece.start + piece.size)
            if low < high:
                stored_N = file.get_slice(piece.key)[low - piece.start : high - piece.start]  # noqa: N806
                values_N[low - wanted.start : high - wanted.start] = stored_N
                filled += high - low
        if filled != wanted.size:
            what = f"{filled:,} of {wanted.size:,} elements of {wanted.slot} {wanted.name}"
            raise CorruptState(f"{self._place}: holds {what}; resume from another checkpoint.")
        return values_N


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose checkpoints may be gone on from; `before_step` leaves out those of that step and later."""

    stage: str
    job_uid: str
    last_commit: CheckpointRef | None = None
    """What is known to have been committed: finding nothing is then an error."""
    before_step: int | None = None


def find_newest(storage: Storage, wanted: Wanted, *, ranks: Ranks) -> Checkpoint | None:
    """The newest checkpoint that verifies; None only if there never was one. Every rank calls it.

    Raises CorruptState when none verifies although one was committed, and StorageForbidden or Infrastructure when the
    storage would not tell.
    """
    candidates = _newest_first(storage, wanted)
    for rejected, path in enumerate(candidates):
        found = _verify_together(storage, path, ranks=ranks, rejected=rejected)
        if found is not None:
            return found
    last = wanted.last_commit
    if candidates or (last is not None and _is_early(last.step, wanted)):
        known = f"; {last.uri} was committed" if last else ""
        raise CorruptState(
            f"{storage.uri_of(stage_prefix(wanted.stage))}: none of {len(candidates)} checkpoints verifies{known}; "
            "restore the storage or start a new job."
        )
    return None


def _is_early(step: int, wanted: Wanted) -> bool:
    return wanted.before_step is None or step < wanted.before_step


def open_checkpoint(storage: Storage, uri: str) -> Checkpoint:
    """Open and verify one checkpoint by the URI of its folder; MissingInput or CorruptState says what is wrong."""
    path = storage.key(uri)
    found = _open(storage, path)
    for file in found.manifest.files:
        if problem := _problem(storage, path, file):
            raise CorruptState(f"{uri}: {problem}; use another checkpoint.")
    return found


def read_shapes(storage: Storage, uri: str) -> dict[str, tuple[int, ...]]:
    """The shapes of a checkpoint's trained parameters by full name; nothing but its manifest is read."""
    return {name: tuple(shape) for name, shape in _open(storage, storage.key(uri)).manifest.parameters.items()}


def read_weights(storage: Storage, uri: str, *, only: str = "") -> dict[str, torch.Tensor]:
    """The trained parameters of a checkpoint by full name, fp32 on the host, verified against its manifest.

    only: how the names begin that are wanted.
    """
    found = open_checkpoint(storage, uri)
    read = found.reader("weights-")
    weights = {}
    for name, shape in found.manifest.parameters.items():
        if not name.startswith(only):
            continue
        size = torch.Size(shape).numel()
        weights[name] = read(Span(Slot.MASTER, name, 0, size)).view(shape)
    return weights


def _newest_first(storage: Storage, wanted: Wanted) -> list[str]:
    found = []
    for item in storage.list(stage_prefix(wanted.stage)):
        place = Place.parse(item.path)
        if (
            place
            and item.path.endswith(f"/{MANIFEST}")
            and place.uid == wanted.job_uid
            and _is_early(place.step, wanted)
        ):
            found.append(place)
    # A later attempt supersedes an earlier one even at a lower step: it had a reason to go back.
    found.sort(key=lambda place: (place.attempt, place.step, place.incarnation), reverse=True)
    return [place.path for place in found]


def _open(storage: Storage, path: str) -> Checkpoint:
    try:
        data = storage.read(f"{path}/{MANIFEST}")
    except MissingInput as error:
        raise MissingInput(f"{storage.uri_of(path)}: no checkpoint there ({MANIFEST} is missing).") from error
    return Checkpoint(storage, path, Manifest.parse(data, place=storage.uri_of(path)), digest(data))


def _verify_together(storage: Storage, path: str, *, ranks: Ranks, rejected: int) -> Checkpoint | None:
    """Every rank checks every world-size-th file; a problem that one finds counts for all."""
    problem, found = "", None
    try:
        found = _open(storage, path)
    except (CorruptState, MissingInput) as error:
        problem = str(error)
    else:
        mine = found.manifest.files[ranks.rank :: ranks.world_size]
        problem = next((text for file in mine if (text := _problem(storage, path, file))), "")
    problems = [text for text in gather_texts(problem) if text]
    if problems or found is None:
        _LOG.warning("checkpoint %s does not verify (%s); trying the one before", path, problems[0])
        return None
    sha256 = broadcast_text(found.manifest_sha256)
    assert sha256 == found.manifest_sha256, f"rank {ranks.rank} reads another {path}/{MANIFEST} than rank 0"
    return Checkpoint(storage, path, found.manifest, sha256, rejected)


def _problem(storage: Storage, path: str, file: StoredFile) -> str:
    try:
        local = storage.local_path(f"{path}/{file.name}")
        if local.stat().st_size != file.size:
            return f"{file.name} has {local.stat().st_size:,} bytes, not {file.size:,}"
        with local.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
                return f"{file.name} has another SHA-256 than its manifest says"
        with safe_open(local, framework="pt"):
            return ""
    except (FileNotFoundError, MissingInput):
        return f"{file.name} is missing"
    except SafetensorError as error:
        return f"{file.name} is no safetensors file ({error})"
