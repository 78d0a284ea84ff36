"""Where prepared data lie: Parquet shards under a name made from their inputs, so that nothing is prepared twice.

Two kinds of sets, each a folder of `part-*.parquet`, `index.parquet` and a `manifest.json` that is written last and
alone makes the set exist. An ImageSet holds prepared uint8 pixels by key; a TokenSet holds samples, which name their
images by key. Another template or tokenizer makes a new TokenSet and touches no image.
"""
# ruff: noqa: N806  (shape suffixes)

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llava_trainer.data.images import ImageSettings
from llava_trainer.data.sample import Sample
from llava_trainer.errors import CorruptState, MissingInput
from llava_trainer.storage import Storage, open_storage
from llava_trainer.storage.answers import Access, translated

__all__ = ["ImageSet", "ImageWriter", "Place", "TokenSet", "TokenWriter"]

_PART_BYTES: Final = 128 << 20
_IMAGES_A_GROUP: Final = 4
"""One random read decodes a group: 1 costs too much metadata, 8 a millisecond and a half an image."""
_SAMPLES_A_GROUP: Final = 32
_DISK: Final = pafs.LocalFileSystem(use_mmap=True)
_MANIFEST: Final = "manifest.json"
_INDEX: Final = "index.parquet"


class Place:
    """One set's folder in a storage; the only thing here that touches files.

    Parts are written on this machine and stored when they are whole, and read where the storage puts them.
    """

    def __init__(self, folder: str | Path, storage: Storage | None = None) -> None:
        """`folder` is a path or URI inside the storage; without one, a path of this machine."""
        self._storage = storage or open_storage("/")
        self.folder = str(folder)

    def below(self, name: str) -> Place:
        """The place of a set below this one."""
        return Place(f"{self.folder}/{name}", self._storage)

    def manifest(self) -> dict[str, Any] | None:
        """The manifest of a finished set, None where there is none."""
        try:
            text = self._storage.read(self._path(_MANIFEST))
        except MissingInput:
            return None
        try:
            value: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise CorruptState(
                f"{self.told(_MANIFEST)}: not valid JSON; delete {self.told()} to prepare it again."
            ) from error
        return value

    def finish(self, manifest: dict[str, Any]) -> None:
        """Make the set exist: a reader never meets half a manifest."""
        self._storage.write(self._path(_MANIFEST), json.dumps(manifest, ensure_ascii=False).encode())

    def table(self, name: str) -> pa.Table:
        """A whole small file."""
        with self.open_part(name) as file:
            return file.read()

    def put_table(self, name: str, table: pa.Table) -> None:
        """Write a whole small file."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self._storage.write(self._path(name), sink.getvalue().to_pybytes())

    def open_part(self, name: str) -> pq.ParquetFile:
        """Open one shard; CorruptState when it is not there or not whole."""
        try:
            file = _DISK.open_input_file(str(self._storage.local_path(self._path(name))))
            return pq.ParquetFile(file, pre_buffer=False)
        except (MissingInput, OSError, pa.ArrowInvalid) as error:
            raise CorruptState(
                f"{self.told(name)}: prepared data are damaged ({error}); delete {self.told()}."
            ) from error

    def start_part(self, name: str) -> pa.NativeFile:
        """A stream to a draft of `name`; `end_part` stores it."""
        draft = self._storage.draft(self._path(name))
        with translated(Access.WRITE, self.told()):
            return _DISK.open_output_stream(str(draft))

    def end_part(self, name: str) -> int:
        """Store a finished part; gives its size in bytes."""
        path = self._path(name)
        size_bytes = self._storage.draft(path).stat().st_size
        self._storage.adopt(path)
        return size_bytes

    def told(self, name: str = "") -> str:
        """How people are told of the set or of a file in it."""
        return self._storage.place(self._path(name)) if name else self._storage.place(self.folder)

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}"


class _PartWriter:
    """Rows in, parts of bounded size out."""

    def __init__(self, place: Place, schema: pa.Schema, *, group: int) -> None:
        self._place, self._schema, self._group = place, schema, group
        self._rows: list[tuple[Any, ...]] = []
        self._writer: pq.ParquetWriter | None = None
        self._stream: pa.NativeFile | None = None
        self.parts: list[dict[str, Any]] = []
        self._num_rows = 0

    def add(self, row: tuple[Any, ...]) -> tuple[int, int]:
        """Take one row; gives its part and its place in the part."""
        self._rows.append(row)
        where = len(self.parts), self._num_rows + len(self._rows) - 1
        if len(self._rows) == self._group * 8:
            self._flush()
            if self._stream is not None and self._stream.tell() >= _PART_BYTES:
                self.close_part()
        return where

    def close_part(self) -> None:
        self._flush()
        if self._writer is None or self._stream is None:
            return
        name = self._name
        with translated(Access.WRITE, self._place.told()):
            self._writer.close()
            self._stream.close()
        self.parts.append({"file": name, "rows": self._num_rows, "bytes": self._place.end_part(name)})
        self._writer = self._stream = None
        self._num_rows = 0

    @property
    def _name(self) -> str:
        return f"part-{len(self.parts):05d}.parquet"

    def _flush(self) -> None:
        if not self._rows:
            return
        with translated(Access.WRITE, self._place.told()):
            if self._writer is None:
                self._stream = self._place.start_part(self._name)
                self._writer = pq.ParquetWriter(
                    self._stream,
                    self._schema,
                    compression="zstd",
                    compression_level=1,
                    use_dictionary=False,
                    write_statistics=False,
                )
            columns = [
                pa.array(values, field.type)
                for values, field in zip(zip(*self._rows, strict=True), self._schema, strict=True)
            ]
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema), row_group_size=self._group)
        self._num_rows += len(self._rows)
        self._rows = []


_IMAGE_SCHEMA: Final = pa.schema([("key", pa.string()), ("pixels", pa.binary())])
_SAMPLE_SCHEMA: Final = pa.schema(
    [
        ("source", pa.string()),
        ("row", pa.int64()),
        ("id", pa.string()),
        ("images", pa.list_(pa.string())),
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
    ]
)


class ImageWriter:
    """Writes an ImageSet: `add` every image, then `finish`; until then there is no set."""

    def __init__(self, place: Place, settings: ImageSettings) -> None:
        self._place, self._settings = place, settings
        self._parts = _PartWriter(place, _IMAGE_SCHEMA, group=_IMAGES_A_GROUP)
        self._index: dict[str, tuple[int, int]] = {}

    def add(self, key: str, rgb: bytes) -> None:
        """Store one prepared image, size * size * 3 bytes by row, column, channel; a key stored before is left."""
        assert len(rgb) == self._settings.size**2 * 3, (len(rgb), self._settings.size)
        if key not in self._index:
            self._index[key] = self._parts.add((key, rgb))

    def finish(self, *, notes: str = "") -> ImageSet:
        """Write index and manifest; `notes` come back from the set."""
        self._parts.close_part()
        places = list(self._index.values())
        columns = {"key": list(self._index), "part": [part for part, _ in places], "row": [row for _, row in places]}
        self._place.put_table(_INDEX, pa.table(columns, schema=_index_schema("part", "row", keyed=True)))
        settings = self._settings.to_json()
        self._place.finish(
            {"version": 1, "kind": "images", "parts": self._parts.parts, "settings": settings, "notes": notes}
        )
        return ImageSet.open(self._place)


class TokenWriter:
    """Writes a TokenSet: `add` every sample, then `finish`; until then there is no set."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._parts = _PartWriter(place, _SAMPLE_SCHEMA, group=_SAMPLES_A_GROUP)
        self._index: list[tuple[int, int, int]] = []
        self._sources: dict[str, None] = {}

    def add(self, sample: Sample) -> None:
        """Store one sample; its images must be keys of the ImageSet."""
        self._parts.add((sample.source, sample.row, sample.id, sample.images, sample.input_ids, sample.labels))
        self._index.append((len(sample.input_ids), sample.num_slots, sample.num_labels))
        self._sources[sample.source] = None

    def finish(self, *, notes: str = "") -> TokenSet:
        """Write index and manifest; `notes` come back from the set."""
        self._parts.close_part()
        names = ("num_tokens", "num_slots", "num_labels")
        columns = {name: [row[i] for row in self._index] for i, name in enumerate(names)}
        self._place.put_table(_INDEX, pa.table(columns, schema=_index_schema(*names)))
        sources = list(self._sources)
        self._place.finish(
            {"version": 1, "kind": "tokens", "parts": self._parts.parts, "sources": sources, "notes": notes}
        )
        return TokenSet.open(self._place)


def _index_schema(*numbers: str, keyed: bool = False) -> pa.Schema:
    return pa.schema([("key", pa.string())] * keyed + [(name, pa.int32()) for name in numbers])


class _Parts:
    """Random access to the rows of a finished set, a row group at a time. One reader for each thread."""

    def __init__(self, place: Place, manifest: dict[str, Any], group: int) -> None:
        self.place, self.manifest, self._group = place, manifest, group
        self._open_part = lru_cache(maxsize=512)(place.open_part)

    def rows(self, where: Sequence[tuple[int, int]]) -> dict[tuple[int, int], pa.Table]:
        """One-row tables by (part, row); a row group that several rows share is decoded once."""
        groups: dict[tuple[int, int], list[int]] = {}
        for part, row in where:
            groups.setdefault((part, row // self._group), []).append(row)
        found = {}
        for (part, group), rows in groups.items():
            table = self._open_part(self.manifest["parts"][part]["file"]).read_row_group(group, use_threads=False)
            for row in rows:
                found[part, row] = table.slice(row % self._group, 1)
        return found


def _open(place: str | Path | Place, kind: str, group: int) -> _Parts:
    place = place if isinstance(place, Place) else Place(place)
    manifest = place.manifest()
    if manifest is None or manifest.get("kind") != kind:
        raise MissingInput(f"{place.told()}: holds no finished set of prepared {kind}; run the prepare stage first.")
    return _Parts(place, manifest, group)


class ImageSet:
    """Prepared images by key."""

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts
        self.folder = parts.place.folder
        self.settings = ImageSettings.from_json(parts.manifest["settings"])
        self.notes: str = parts.manifest["notes"]

    @classmethod
    def open(cls, folder: str | Path | Place) -> Self:
        """Read the manifest of a finished set; MissingInput when there is none."""
        return cls(_open(folder, "images", _IMAGES_A_GROUP))

    def __len__(self) -> int:
        return len(self._index)

    def read(self, keys: Sequence[str]) -> NDArray[np.uint8]:
        """Give uint8 [I, H, W, C], one image a key, repeats allowed; KeyError for a key that is not in the set."""
        size = self.settings.size
        images_IHWC = np.empty((len(keys), size, size, 3), dtype=np.uint8)
        where = [self._index[key] for key in keys]
        rows = self._parts.rows(where)
        for image_HWC, place in zip(images_IHWC, where, strict=True):
            flat = np.frombuffer(rows[place].column("pixels")[0].as_buffer(), dtype=np.uint8)
            image_HWC[...] = flat.reshape(image_HWC.shape)
        return images_IHWC

    @cached_property
    def _index(self) -> dict[str, tuple[int, int]]:
        index = self._parts.place.table(_INDEX)
        places = zip(index.column("part").to_pylist(), index.column("row").to_pylist(), strict=True)
        return dict(zip(index.column("key").to_pylist(), places, strict=True))


class TokenSet:
    """Samples by index, with the columns that a planner needs in memory."""

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts
        self.folder = parts.place.folder
        self.notes: str = parts.manifest["notes"]
        self.sources = tuple(parts.manifest["sources"])
        """Names of the files that the samples come from."""
        rows = [part["rows"] for part in parts.manifest["parts"]]
        self._ends = np.cumsum(rows, dtype=np.int64)

    @classmethod
    def open(cls, folder: str | Path | Place) -> Self:
        """Read the manifest of a finished set; MissingInput when there is none."""
        return cls(_open(folder, "tokens", _SAMPLES_A_GROUP))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def num_labels(self) -> NDArray[np.int32]:
        """Predicted tokens of each sample."""
        return self._column("num_labels")

    @property
    def num_slots(self) -> NDArray[np.int32]:
        """Images of each sample that the model sees."""
        return self._column("num_slots")

    def lengths(self, patches: int) -> NDArray[np.int32]:
        """Positions of each sample once every image token has become `patches` rows."""
        return self._column("num_tokens") + self.num_slots * (patches - 1)

    def read(self, indices: Sequence[int]) -> list[Sample]:
        """Give the samples at `indices`, in that order; their images are keys of the ImageSet."""
        where = [self._place_of(index) for index in indices]
        rows = self._parts.rows(where)
        return [_sample(rows[place]) for place in where]

    def _place_of(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        part = int(np.searchsorted(self._ends, index, side="right"))
        return part, index - int(self._ends[part - 1]) if part else index

    def _column(self, name: str) -> NDArray[np.int32]:
        column: NDArray[np.int32] = self._index.column(name).to_numpy()
        return column

    @cached_property
    def _index(self) -> pa.Table:
        return self._parts.place.table(_INDEX)


def _sample(table: pa.Table) -> Sample:
    row = table.to_pylist()[0]
    return Sample(
        source=row["source"],
        row=row["row"],
        id=row["id"],
        images=tuple(row["images"]),
        input_ids=tuple(row["input_ids"]),
        labels=tuple(row["labels"]),
    )
