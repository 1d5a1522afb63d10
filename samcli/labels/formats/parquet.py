"""Parquet: one table `annotations.parquet` for all images, a row per object, for pandas, DuckDB and Spark."""

from __future__ import annotations

import functools
import itertools
import json
import re
import tempfile
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from samcli.errors import UsageError, one_line
from samcli.files import Sink
from samcli.labels.class_names import usable_names
from samcli.labels.formats.base import SPOOL, LabelFormat, Rendering
from samcli.labels.formats.coco import FIGURES, coco_annotation, figures, quality_of, shape_of
from samcli.labels.formats.sources import LabelSet, Source
from samcli.labels.json_stream import Shelf
from samcli.labels.objects import LabelEntry, LabelledObject, ReadImage, gather
from samcli.labels.shapes import side
from samcli.types import Instance

_FILE = "annotations.parquet"
_ROWS = 8192
"""Rows of a row group: what is held in memory while the table is written or read."""
_NAMES = b"samcli.names"
"""Key of the class names in the metadata of the table: those without objects are known as well."""
_READ = ("key", "height", "width", "category_id", "category", "bbox", "counts", *FIGURES)


class Parquet(LabelFormat):
    """A row per object: `key`, `height`, `width`, `category_id`, `category`, `bbox`, `area`, `counts`, figures.

    `category_id` is the class id, from 0. `bbox` is COCO's (x, y, width, height in pixels); `counts` with
    `[height, width]` is a mask in COCO's compressed run lengths. An image without objects has one row, in which
    all columns of objects are null. Bytes of file names that are no UTF-8 become U+FFFD.
    """

    folded_name = _FILE
    is_read = True
    package = "pyarrow"

    def fold(self, renderings: Iterable[Rendering], names: Mapping[int, str]) -> Iterator[bytes]:
        """Yield the row groups, each as soon as it is full."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink, schema = Sink(), _schema(names)
        rows = itertools.chain.from_iterable(map(_rows, renderings))
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            while group := list(itertools.islice(rows, _ROWS)):
                writer.write_table(pa.Table.from_pylist(group, schema))
                yield sink.taken()
        yield sink.taken()

    extends = True

    def fold_into(
        self, existing: Path, renderings: Iterable[Rendering], names: Mapping[int, str]
    ) -> Iterator[bytes]:
        """Yield the table with its rows, their order and its columns as they were; new rows follow.

        Raises:
            UsageError: its columns cannot hold them.
        """
        import pyarrow as pa

        before = _Reader(existing, Source(existing))
        gone: set[int] = set()
        with tempfile.SpooledTemporaryFile(SPOOL) as rows:
            for rendering in renderings:
                gone.update(before.rows_of(rendering))
                for row in _added_rows(rendering):
                    category_id = row.get("category_id")
                    own = {} if category_id is None else {"category_id": before.category_id(category_id)}
                    rows.write(json.dumps({**row, **own}).encode() + b"\n")
            rows.seek(0)
            try:
                yield from _extended(existing, gone, map(json.loads, rows), names)
            except pa.ArrowException as error:
                reason = f"{existing.name}: its columns cannot hold the objects of a run: {one_line(error)[:200]}"
                raise UsageError(f"{reason}; samcli convert makes another format of it") from error

    def finds(self, path: Path) -> bool:
        """Return whether it is a table, or a folder with one of the usual name."""
        return (path.is_file() and path.suffix == ".parquet") or (path / _FILE).is_file()

    def read(self, source: Source) -> LabelSet:
        """Read the rows of each image, in any order; without our class names, classes are sorted by their ids."""
        self.check_package()
        path = source.path if source.path.is_file() else source.path / _FILE
        if not path.is_file():
            raise UsageError(f"{source.path} holds no {_FILE}; give the table itself")
        return _Reader(path, source).labels()


def _rows(rendering: Rendering) -> Iterator[dict[str, Any]]:
    """Yield the rows of an image."""
    annotation = rendering.annotation
    height, width = annotation.image_size
    image = {"key": _utf8(annotation.key), "height": height, "width": width}
    image["fingerprint"] = rendering.fingerprint or None
    if not annotation.instances:
        yield image
    for instance in annotation.instances:
        yield {**image, **_object(instance), "category": _utf8(rendering.name_of(instance.class_id))}


def _added_rows(rendering: Rendering) -> Iterator[dict[str, Any]]:
    """Yield the rows of what was added to an image, under the name that it has in the table."""
    existing, added = rendering.found.existing, rendering.added
    if existing is None:
        yield from _rows(added)
    elif added.annotation.instances:
        yield from ({**row, "key": existing.name} for row in _rows(added))


def _extended(
    file: Path, gone: Collection[int], new: Iterator[dict[str, Any]], names: Mapping[int, str]
) -> Iterator[bytes]:
    """Yield a table without the `gone` rows, numbered from 1, and with the new ones."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink, first = Sink(), 1
    with pq.ParquetFile(file) as table:
        metadata = dict(table.schema_arrow.metadata or {})
        if _NAMES in metadata:
            metadata[_NAMES] = _schema(names).metadata[_NAMES]
        schema = table.schema_arrow.with_metadata(metadata)
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for batch in table.iter_batches(_ROWS):
                kept = [row for row in range(batch.num_rows) if first + row not in gone]
                writer.write_table(pa.Table.from_batches([batch]).take(pa.array(kept, pa.int64())).cast(schema))
                first += batch.num_rows
                yield sink.taken()
            while group := list(itertools.islice(new, _ROWS)):
                writer.write_table(pa.Table.from_pylist(group, schema))
                yield sink.taken()
    yield sink.taken()


def _utf8(text: str) -> str:
    """Return text that Parquet can hold: bytes of file names that are no UTF-8 become U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _object(instance: Instance) -> dict[str, Any]:
    """Return the columns of an object but for the name of its class."""
    row = coco_annotation(instance, 0, 0)
    return {
        "category_id": instance.class_id,
        "bbox": row["bbox"],
        "area": row["area"],
        "counts": row["segmentation"]["counts"],
        **figures(instance.quality),
    }


def _schema(names: Mapping[int, str]) -> Any:
    """Return the columns of the table; only the image's own are never null."""
    import pyarrow as pa

    columns = [
        pa.field("key", pa.string(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("category_id", pa.int32()),
        pa.field("category", pa.string()),
        pa.field("bbox", pa.list_(pa.float64())),
        pa.field("area", pa.int64()),
        pa.field("counts", pa.string()),
        *(pa.field(name, pa.float64()) for name in FIGURES),
        pa.field("fingerprint", pa.string()),
    ]
    return pa.schema(columns, {_NAMES: json.dumps({str(key): names[key] for key in sorted(names)})})


class _Reader:
    """The rows of a table; they are put aside, and looked at when their image's turn comes."""

    def __init__(self, file: Path, source: Source) -> None:
        self._file, self._source, self._shelf = file, source, Shelf()
        self._images: dict[str, array[int]] = {}
        self._classes: dict[Any, Any] = {}
        """Name of each class by its id, or by its name where a row has no id."""
        self._own_names: dict[int, str] = {}
        self._class_ids: dict[Any, int] = {}
        for number, row in enumerate(self._table_rows(), 1):
            self._add(number, row)

    def _table_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows, a row group at a time.

        Raises:
            UsageError: it is no Parquet, or another table.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self._file) as table:
                columns = table.schema_arrow.names
                if missing := {"key", "bbox"} - set(columns):
                    lack = f"{self._file} has no column {min(missing)!r}"
                    raise UsageError(f"{lack}; expected key, bbox and counts, as samcli writes them")
                self._own_names = _names_in(table.schema_arrow.metadata or {})
                for batch in table.iter_batches(_ROWS, columns=[name for name in _READ if name in columns]):
                    yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"{self._file} cannot be read as Parquet: {one_line(error)[:200]}") from error

    def _add(self, number: int, row: dict[str, Any]) -> None:
        key = row.get("key")
        if not isinstance(key, str):
            raise UsageError(f"{self._file}: row {number} has no key; expected the path of its image")
        places = self._images.setdefault(key, array("Q"))
        places.append(self._shelf.put((number, row)))
        if row.get("counts") is not None or row.get("bbox") is not None:
            self._classes.setdefault(_class_key(row), row.get("category"))

    def labels(self) -> LabelSet:
        """Return the classes and the images."""
        keys = sorted(self._classes, key=lambda key: (isinstance(key, str), key))
        if keys and set(keys) <= self._own_names.keys():
            self._class_ids, names = {key: key for key in keys}, self._own_names
        else:
            self._class_ids = {key: index for index, key in enumerate(keys)}
            given = [self._classes[key] for key in keys]
            texts = usable_names(given, [str(key) for key in keys], self._source.remarks)
            names = self._own_names if not keys else dict(enumerate(texts))
        entries = [
            LabelEntry(key, functools.partial(self._read, places=places), str(self._file))
            for key, places in self._images.items()
        ]
        return LabelSet(names, entries=entries)

    def rows_of(self, rendering: Rendering) -> list[int]:
        """Return the numbers, from 1, of the rows of the objects of an image that are gone."""
        existing = rendering.found.existing
        if existing is None or not rendering.gone:
            return []
        rows = [self._shelf.take(place) for place in self._images[existing.name]]
        own = [number for number, row in rows if not _is_empty(row)]
        return [own[place] for place in rendering.gone]

    def category_id(self, class_id: int) -> Any:
        """Return the number of a class in the table; one that it does not have gets one behind the largest."""
        if not self._class_ids:
            self.labels()
        ids = {own: key for key, own in self._class_ids.items()}
        if any(isinstance(key, str) for key in ids.values()):  # the table names its classes, without numbers
            key = ids.get(class_id)
            return key if isinstance(key, int) else None
        if class_id in ids or not ids or set(ids) == set(ids.values()):
            return ids.get(class_id, class_id)
        numbers = [key for key in self._class_ids if isinstance(key, int)]
        return max(numbers, default=-1) + 1 + class_id - len(ids)

    def _read(self, key: str, *, places: Iterable[int]) -> ReadImage:
        rows = [self._shelf.take(place) for place in places]
        sizes = {(side(row.get("height")), side(row.get("width"))) for _, row in rows}
        if len(sizes) > 1:
            raise ValueError("its rows state different image sizes")
        (size,) = sizes
        objects, omitted = gather(
            ((f"row {number}", row) for number, row in rows), functools.partial(self._object, size=size)
        )
        return ReadImage(key, objects, size if all(size) else None, omitted)

    def _object(self, row: dict[str, Any], size: tuple[int, int]) -> LabelledObject | None:
        counts = row.get("counts")
        if _is_empty(row):
            return None
        item = dict(row)
        if counts is not None:
            item["segmentation"] = {"size": list(size), "counts": counts}
        shape, box = shape_of(item)
        return LabelledObject(shape, self._class_ids[_class_key(row)], quality_of(row), stated_box=box)


def _is_empty(row: Mapping[str, Any]) -> bool:
    """Return whether a row stands for an image without objects."""
    return row.get("counts") is None and row.get("bbox") is None


def _class_key(row: Mapping[str, Any]) -> Any:
    number = row.get("category_id")
    return number if type(number) is int else str(row.get("category"))


def _names_in(metadata: Mapping[bytes, bytes]) -> dict[int, str]:
    """Return the class names that our own tables carry; none of other tables."""
    try:
        return {int(key): str(name) for key, name in json.loads(metadata[_NAMES]).items()}
    except (KeyError, ValueError, AttributeError, TypeError, RecursionError):
        return {}
