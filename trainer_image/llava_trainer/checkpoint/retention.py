"""Which checkpoints of a stage may go: all but the newest few, and what dead attempts left half-written."""

from __future__ import annotations

from llava_trainer.checkpoint.layout import MANIFEST, Place, stage_prefix
from llava_trainer.storage import Storage

__all__ = ["prune"]


def prune(storage: Storage, committed: Place, *, keep_last: int, spared: str | None = None) -> None:
    """Delete old checkpoints once `committed` is safe; it is the newest verified one and always stays.

    `spared` is the URI of another that stays, beside the newest few. An attempt that went back makes steps anew: what
    earlier attempts had at its step and later counts as older than what it went back to.

    A checkpoint loses its manifest first, so that a deletion cut short leaves nothing that looks whole. Half-written
    checkpoints go only when an attempt before this one left them: a living writer is never disturbed.
    """
    listed = [(item.path, Place.parse(item.path)) for item in storage.list(stage_prefix(committed.stage))]
    objects = [path for path, place in listed if place and place.uid == committed.uid]
    places = {place for path in objects if (place := Place.parse(path))}
    whole = {place for path in objects if path.endswith(f"/{MANIFEST}") and (place := Place.parse(path))}
    newest_first = sorted(whole, key=lambda place: (_is_undone(place, committed), -place.attempt, -place.step))
    newest_first = [committed, *(place for place in newest_first if place != committed)]
    torn = {place for place in places - whole if place.attempt < committed.attempt}
    old = [place for place in newest_first[keep_last:] if storage.uri_of(place.path) != spared]
    for place in [*old, *torn]:
        inside = [path for path in objects if path.startswith(f"{place.path}/")]
        for path in sorted(inside, key=lambda path: not path.endswith(f"/{MANIFEST}")):
            storage.delete(path)


def _is_undone(place: Place, committed: Place) -> bool:
    return place.attempt < committed.attempt and place.step >= committed.step
