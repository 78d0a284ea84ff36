"""What a prepared data set is named after, and how one is made of annotation files and images in a single walk.

The images' name comes from every file's path, size and time and from the preprocessing; the tokens' name from template,
tokenizer, length limit, annotations and the images' name. A name that exists already is work that is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from llava_trainer.data.audit import Audit, Examined, Seen, Source, Tally, examine, images_of, source_names
from llava_trainer.data.conversation import Oddity, normalise
from llava_trainer.data.images import BadImage, ImageSettings, check_image, find_image, prepare
from llava_trainer.data.record import BadRow, Reason, read_records
from llava_trainer.data.sample import Dropped, DropReason, Sample, Wording, tokenise
from llava_trainer.data.shards import ImageSet, ImageWriter, Place, TokenSet, TokenWriter
from llava_trainer.errors import BadData

__all__ = ["NothingToTrainOn", "PreparedSet", "RowSet", "prepare_set"]

_FILES_AT_ONCE: Final = 4096


class NothingToTrainOn(BadData):
    """No row of a data set has a label; `audit` says what became of each."""

    def __init__(self, audit: Audit, *, max_length: int) -> None:
        super().__init__(_why_nothing(audit, max_length))
        self.audit = audit


def _why_nothing(audit: Audit, max_length: int) -> str:
    reasons = {dropped.reason for dropped in audit.dropped}
    if not audit.num_rows:
        return "the annotation files hold no row; give files with rows."
    if audit.bad_rows:
        first = f"The first bad one: {audit.bad_rows[0]}"
        return f"none of {audit.num_rows:,} rows can be trained on; `llava audit` says why. {first}"
    if reasons == {DropReason.LABELS_CUT_OFF}:
        return (
            f"maxLength {max_length} is shorter than every prompt, so that all {audit.num_rows:,} rows lose their "
            "answers; raise maxLength."
        )
    told = ", ".join(sorted(reasons))
    return f"none of {audit.num_rows:,} rows has an answer to learn from ({told}); `llava preview` shows them."


@dataclass(frozen=True)
class RowSet:
    """The rows of a stage, and the share of them that is held out of its training."""

    sources: Sequence[Source]
    held_out: float = 0.0


@dataclass(frozen=True)
class PreparedSet:
    """Where the parts of a prepared data set lie, what the walk found, and which parts were there already.

    held_out: the samples that are not trained on; None where none are.
    """

    images: str
    tokens: str
    held_out: str | None
    audit: Audit
    num_samples: int
    num_held_out: int
    reused_images: bool
    reused_tokens: bool


def prepare_set(
    rows: RowSet,
    wording: Wording,
    *,
    settings: ImageSettings,
    folder: Path | Place,
    progress: Callable[[int, int], None] | None = None,
) -> PreparedSet:
    """Write `folder`/images/<key> and `folder`/tokens/<key>, or find them there.

    Bad rows are left out and named in the audit; whether they are too many is for the caller to say (Audit.require).
    `progress(done, total)` is called after each row of a walk. Raises NothingToTrainOn when no row is left.
    """
    home = folder if isinstance(folder, Place) else Place(folder)
    survey = _take_survey(rows.sources)
    image_key = _digest(["images v1", survey.images, settings.digest])
    split = [rows.held_out] if rows.held_out else []
    token_key = _digest(["tokens v2", survey.annotations, wording.digest, image_key, *split])
    images, tokens = home.below(f"images/{image_key}"), home.below(f"tokens/{token_key}")
    had_images, had_tokens = images.manifest() is not None, tokens.manifest() is not None
    if not (had_images and had_tokens):
        gallery = _Gallery(images, settings, survey)
        examined = _told(examine(rows.sources, gallery.look), survey.num_rows, progress)
        _walk(examined, wording, gallery=gallery, sides=_Sides(tokens, rows.held_out))
    samples, held_out = TokenSet.open(tokens), _held_out(tokens) if rows.held_out else None
    return PreparedSet(
        images=images.folder,
        tokens=tokens.folder,
        held_out=held_out.folder if held_out else None,
        audit=Audit.from_json(samples.notes),
        num_samples=len(samples),
        num_held_out=len(TokenSet.open(held_out)) if held_out else 0,
        reused_images=had_images,
        reused_tokens=had_images and had_tokens,
    )


def _told(rows: Iterable[Examined], total: int, progress: Callable[[int, int], None] | None) -> Iterator[Examined]:
    for done, examined in enumerate(rows, start=1):
        yield examined
        if progress:
            progress(done, total)


def _held_out(tokens: Place) -> Place:
    return tokens.below("held-out")


class _Sides:
    """Who trains and who is held out: rows about the same image stand on the same side, in every run."""

    def __init__(self, tokens: Place, held_out: float) -> None:
        self._share = held_out
        self._training = TokenWriter(tokens)
        self._held_out = TokenWriter(_held_out(tokens)) if held_out else None

    def add(self, sample: Sample, stored: Sample, *, copies: int) -> None:
        """Take a sample under the names that its row gave to images, and as it is stored; held out, it counts once."""
        if self._held_out is not None and _chance(sample) < self._share:
            if copies:
                self._held_out.add(stored)
            return
        for _ in range(copies):
            self._training.add(stored)

    def finish(self, *, notes: str) -> None:
        """Make the sets exist; the one that trains comes last."""
        if self._held_out is not None:
            self._held_out.finish()
        self._training.finish(notes=notes)


def _chance(sample: Sample) -> float:
    """Draw a number below 1 that depends on the row's first image, or on the row where there is none."""
    name = sample.images[0] if sample.images else f"{sample.source} row {sample.row}"
    return int(_digest(["held out", name])[:12], 16) / 16**12


def _walk(rows: Iterable[Examined], wording: Wording, *, gallery: _Gallery, sides: _Sides) -> None:
    """Row by row: store its images, tokenise, write; the manifests come last, the tokens' after the images'."""
    tally = Tally()
    for examined in rows:
        for image, rgb in examined.new_images:
            gallery.add(examined.source, image, rgb)
        if isinstance(examined.finding, BadRow):
            tally.bad(examined.finding)
            continue
        sample = tokenise(examined.finding, wording)
        if isinstance(sample, Dropped):
            tally.drop(sample)
            continue
        tally.keep(examined.finding)
        stored = replace(sample, images=gallery.keys(examined.source, sample.images))
        sides.add(sample, stored, copies=examined.source.copies(sample.row))
    audit = tally.audit()
    gallery.finish()
    if not audit.num_kept:
        raise NothingToTrainOn(audit, max_length=wording.max_length)
    sides.finish(notes=audit.to_json())


@dataclass(frozen=True)
class _Survey:
    """What the inputs are, without reading an image: `images` and `annotations` name them, `keys` maps path to key.

    Paths are strings here: half a million Path objects take a gigabyte.
    """

    num_rows: int
    images: str
    annotations: str
    keys: dict[str, str]


def _take_survey(sources: Sequence[Source]) -> _Survey:
    roots = list(dict.fromkeys(source.images for source in sources))
    named: dict[str, tuple[int, str]] = {}  # two folders may hold files alike in name, size and time
    annotations = []
    num_rows = 0
    for source, name in zip(sources, source_names(sources), strict=True):
        for record in read_records(source.annotations, source=name):
            num_rows += 1
            finding = record if isinstance(record, BadRow) else normalise(record)
            if source.images:
                root = roots.index(source.images)
                named.update((str(source.images / image), (root, image)) for image in images_of(finding))
        with source.annotations.open("rb") as file:
            annotations.append([name, source.weight, hashlib.file_digest(file, "sha256").hexdigest()])
    keys = dict(_keys(named))
    return _Survey(num_rows, _digest(sorted(set(keys.values()))), _digest(annotations), keys)


def _keys(named: Mapping[str, tuple[int, str]]) -> Iterator[tuple[str, str]]:
    """Look at many files at once, each of which a network file system tells of in its own time."""
    paths = iter(named)
    with ThreadPoolExecutor(16, thread_name_prefix="stat") as pool:
        while some := list(islice(paths, _FILES_AT_ONCE)):
            yield from zip(some, pool.map(lambda path: _facts(path, named[path]), some), strict=True)


def _facts(path: str, name: tuple[int, str]) -> str:
    try:
        stat = find_image(Path(path)).stat()
    except OSError:
        return _digest([name, "absent"])[:32]
    return _digest([name, stat.st_size, stat.st_mtime_ns])[:32]


class _Gallery:
    """The walk's images: decoded, prepared and stored; or, where the set exists, recalled without opening a file."""

    def __init__(self, place: Place, settings: ImageSettings, survey: _Survey) -> None:
        self._settings, self._survey = settings, survey
        has_images = place.manifest() is not None
        self._writer = None if has_images else ImageWriter(place, settings)
        # What was odd or bad, by key: [bad, oddities], for the next walk over the same images.
        self._remarks: dict[str, list[Any]] = json.loads(ImageSet.open(place).notes) if has_images else {}

    def look(self, path: Path) -> Seen:
        return self._recall(path) if self._writer is None else self._decode(path)

    def add(self, source: Source, image: str, rgb: bytes) -> None:
        if self._writer is not None:
            self._writer.add(self.keys(source, (image,))[0], rgb)

    def keys(self, source: Source, images: Sequence[str]) -> tuple[str, ...]:
        root = source.images
        return () if root is None else tuple(self._survey.keys[str(root / image)] for image in images)

    def finish(self) -> None:
        if self._writer is not None:
            self._writer.finish(notes=json.dumps(self._remarks))

    def _decode(self, path: Path) -> Seen:
        try:
            opened = check_image(path)
            seen = Seen(None, opened.oddities, prepare(opened.image, self._settings).tobytes())
        except BadImage as bad:
            seen = Seen(bad=(bad.reason, bad.detail))
        if seen.bad or seen.oddities:
            self._remarks[self._survey.keys[str(path)]] = [seen.bad, seen.oddities]
        return seen

    def _recall(self, path: Path) -> Seen:
        bad, oddities = self._remarks.get(self._survey.keys[str(path)], (None, ()))
        return Seen((Reason(bad[0]), bad[1]) if bad else None, tuple(map(Oddity, oddities)))


def _digest(facts: Any) -> str:
    """Name for anything that JSON can write; 40 hexadecimal digits are beyond chance and short enough for a path."""
    return hashlib.sha256(json.dumps(facts, ensure_ascii=False, sort_keys=True).encode()).hexdigest()[:40]
