"""What is wrong or odd in a data set, counted and named before a GPU is asked for, and when it is too much.

One walk over the rows serves both `llava audit` and the prepare stage: `examine` gives every row in order as a
conversation or as a bad row, its images looked at on a few threads meanwhile; `Tally` counts; `Audit` is the count.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from llava_trainer.data.conversation import Conversation, Oddity, normalise
from llava_trainer.data.images import BadImage, image_warnings, inspect_image
from llava_trainer.data.record import BadRow, Reason, read_records
from llava_trainer.data.sample import Dropped, DropReason
from llava_trainer.errors import BadData

__all__ = ["Audit", "Examined", "Look", "Seen", "Source", "Tally", "audit", "examine", "images_of", "source_names"]

_NUM_THREADS: Final = min(32, (os.cpu_count() or 1) + 4)  # decoding leaves the interpreter's lock; four wait for disks
_ROWS_AHEAD: Final = 8 * _NUM_THREADS


@dataclass(frozen=True, slots=True)
class Source:
    """One annotation file, the folder that its image paths start from, and how often its rows count."""

    annotations: Path
    images: Path | None = None
    weight: float = 1.0

    def copies(self, row: int) -> int:
        """How often row `row` is trained on in an epoch: 2 at weight 2, 1 at every second row at weight 0.5."""
        return int((row + 1) * self.weight) - int(row * self.weight)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at one image file gave: why it is bad, or what is odd and, for those who prepare, its RGB bytes."""

    bad: tuple[Reason, str] | None = None
    oddities: tuple[Oddity, ...] = ()
    rgb: bytes | None = None


Look = Callable[[Path], Seen]


def look_only(path: Path) -> Seen:
    """Decode the whole file and keep nothing."""
    try:
        return Seen(oddities=inspect_image(path))
    except BadImage as bad:
        return Seen(bad=(bad.reason, bad.detail))


def source_names(sources: Sequence[Source]) -> list[str]:
    """What rows call their file: its name, or its path where two files have the same name."""
    names = Counter(source.annotations.name for source in sources)
    return [s.annotations.name if names[s.annotations.name] == 1 else str(s.annotations) for s in sources]


@dataclass(frozen=True, slots=True)
class Examined:
    """One row after the walk; `new_images` are (path in the row, RGB bytes) that no row before it had."""

    source: Source
    finding: Conversation | BadRow
    new_images: tuple[tuple[str, bytes], ...] = ()


def examine(sources: Sequence[Source], look: Look | None) -> Iterator[Examined]:
    """Walk over all rows in order; each image file is looked at once. With `look` None no image is opened."""
    with image_warnings(), ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="image") as pool:
        for source, name in zip(sources, source_names(sources), strict=True):
            gallery = _Gallery(source, look, pool)
            ahead: deque[Conversation | BadRow] = deque()
            for record in read_records(source.annotations, source=name):
                finding = record if isinstance(record, BadRow) else normalise(record)
                gallery.ask(finding)
                ahead.append(finding)
                if len(ahead) > _ROWS_AHEAD:
                    yield gallery.settle(ahead.popleft())
            while ahead:
                yield gallery.settle(ahead.popleft())


class _Gallery:
    """The images of one source: asked for ahead of their row, remembered without their pixels."""

    def __init__(self, source: Source, look: Look | None, pool: ThreadPoolExecutor) -> None:
        self._source, self._look, self._pool = source, look, pool
        self._asked: dict[str, Future[Seen]] = {}
        self._seen: dict[str, Seen] = {}

    def ask(self, finding: Conversation | BadRow) -> None:
        if self._look is None or self._source.images is None:
            return
        for image in images_of(finding):
            if image not in self._asked and image not in self._seen:
                self._asked[image] = self._pool.submit(self._look, self._source.images / image)

    def settle(self, finding: Conversation | BadRow) -> Examined:
        """Wait for the row's images; a bad one makes the row bad."""
        new: list[tuple[str, bytes]] = []
        for image in images_of(finding) if self._look else ():
            seen = self._take(image, new)
            if isinstance(finding, Conversation):
                finding = _with_image(finding, seen)
        return Examined(self._source, finding, tuple(new))

    def _take(self, image: str, new: list[tuple[str, bytes]]) -> Seen:
        if self._source.images is None:
            return Seen(bad=(Reason.IMAGE_MISSING, f"the row names image {image}, but its file has no image folder"))
        if image in self._asked:
            seen = self._asked.pop(image).result()
            if seen.rgb is not None:
                new.append((image, seen.rgb))
            self._seen[image] = replace(seen, rgb=None)
        return self._seen[image]


def images_of(finding: Conversation | BadRow) -> tuple[str, ...]:
    """The images that a walk looks at for a row: none where the row is lost already."""
    return finding.images if isinstance(finding, Conversation) and finding.exchanges else ()


def _with_image(conversation: Conversation, seen: Seen) -> Conversation | BadRow:
    if seen.bad:
        return BadRow(conversation.source, conversation.row, conversation.id, *seen.bad)
    return replace(conversation, oddities=tuple(dict.fromkeys(conversation.oddities + seen.oddities)))


@dataclass(frozen=True)
class Audit:
    """The count over a data set: rows read, rows that are trained on, and every row that is not."""

    num_rows: int
    num_kept: int
    bad_rows: tuple[BadRow, ...]
    dropped: tuple[Dropped, ...]
    oddities: tuple[tuple[Oddity, int], ...]

    @property
    def bad_fraction(self) -> float:
        """Share of the rows that are bad."""
        return len(self.bad_rows) / self.num_rows if self.num_rows else 0.0

    def require(self, *, on_bad_row: str, max_bad_fraction: float) -> None:
        """Raise BadData, naming the first bad row, when the rows are not good enough to train on.

        `on_bad_row` is "fail" (no bad row at all) or "quarantine" (at most `max_bad_fraction` of them).
        """
        if not self.bad_rows or (on_bad_row == "quarantine" and self.bad_fraction <= max_bad_fraction):
            return
        count = f"{len(self.bad_rows):,} of {self.num_rows:,} rows are bad"
        if on_bad_row == "quarantine":
            limit = f"{count}, more than prepare.maxBadFraction {max_bad_fraction:g}; mend them or raise it"
        else:
            limit = f"{count}; mend them, or set prepare.onBadRow: quarantine to leave them out"
        raise BadData(f"{self.bad_rows[0]} In all {limit}. `llava audit` lists every one (rows count from 0).")

    def to_json(self) -> str:
        """The audit as one JSON object; each bad row with file, row, id, reason and the sentence."""
        bad = [
            {"file": b.source, "row": b.row, "id": b.id, "reason": b.reason, "detail": b.detail, "message": str(b)}
            for b in self.bad_rows
        ]
        value = {"rows": self.num_rows, "kept": self.num_kept, "bad": bad, "dropped": [asdict(d) for d in self.dropped]}
        return json.dumps({**value, "oddities": dict(self.oddities)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Audit:
        """Inverse of `to_json`."""
        value = json.loads(text)
        return cls(
            num_rows=value["rows"],
            num_kept=value["kept"],
            bad_rows=tuple(
                BadRow(b["file"], b["row"], b["id"], Reason(b["reason"]), b["detail"]) for b in value["bad"]
            ),
            dropped=tuple(Dropped(**{**d, "reason": DropReason(d["reason"])}) for d in value["dropped"]),
            oddities=tuple((Oddity(name), count) for name, count in value["oddities"].items()),
        )

    def __str__(self) -> str:
        left_out = Counter(d.reason.value for d in self.dropped)
        lines = [str(row) for row in self.bad_rows]
        counts = {"kept": self.num_kept, "bad": len(self.bad_rows), "dropped": len(self.dropped)}
        words = ", ".join(f"{count:,} {word}" for word, count in counts.items())
        lines.append(f"{self.num_rows:,} rows, numbered from 0: {words}.")
        lines += [f"  dropped, {reason}: {count:,}" for reason, count in sorted(left_out.items())]
        lines += [f"  odd, {name.value}: {count:,}" for name, count in self.oddities]
        return "\n".join(lines)


@dataclass
class Tally:
    """Counts a walk; each row is given exactly once, as what became of it."""

    num_kept: int = 0
    bad_rows: list[BadRow] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    oddities: Counter[Oddity] = field(default_factory=Counter)

    def bad(self, row: BadRow) -> None:
        """Count a row that cannot be used."""
        self.bad_rows.append(row)

    def drop(self, row: Dropped) -> None:
        """Count a row that teaches nothing."""
        self.dropped.append(row)

    def keep(self, conversation: Conversation) -> None:
        """Count a row that is trained on."""
        self.num_kept += 1
        self.oddities.update(conversation.oddities)

    def audit(self) -> Audit:
        """Close the count."""
        num_rows = self.num_kept + len(self.bad_rows) + len(self.dropped)
        odd = tuple((name, self.oddities[name]) for name in Oddity if self.oddities[name])
        return Audit(num_rows, self.num_kept, tuple(self.bad_rows), tuple(self.dropped), odd)


def audit(sources: Iterable[Source], *, check_images: bool = True) -> Audit:
    """Read every row and, if asked, decode every image; bad rows are counted, never raised (see Audit.require)."""
    tally = Tally()
    for examined in examine(tuple(sources), look_only if check_images else None):
        match examined.finding:
            case BadRow() as row:
                tally.bad(row)
            case Conversation(exchanges=()) as row:
                tally.drop(Dropped(row.source, row.row, row.id, DropReason.NO_ANSWER))
            case Conversation() as row:
                tally.keep(row)
    return tally.audit()
