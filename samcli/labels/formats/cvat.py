"""CVAT: a zip in its format "Ultralytics YOLO Segmentation 1.0", to be uploaded as annotations of a task."""

from __future__ import annotations

import contextlib
import functools
import io
import posixpath
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import yaml

from samcli.errors import UsageError, one_line
from samcli.files import parse_yaml
from samcli.labels.class_names import DATA_YAML, complete, parse_names
from samcli.labels.formats.base import LabelFormat, Rendering, plain_text
from samcli.labels.formats.sources import LabelSet, Source
from samcli.labels.formats.yolo import image_lists, lists_images_elsewhere, read_rows, yolo_rows
from samcli.labels.objects import Entry, ReadImage

_ZIP = "cvat.zip"
_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The date of all entries, so that equal labels are equal bytes."""


class Cvat(LabelFormat):
    """`cvat.zip`: `data.yaml`, `train.txt` and `labels/train/<image>.txt`, without the images."""

    loses = frozenset({"borders", "empty", "repeated", "scores"})
    folded_name = _ZIP
    one_per_stem = True
    is_read = True

    def fold(self, renderings: Iterable[Rendering], names: Mapping[int, str]) -> Iterator[bytes]:
        """The zip as it grows."""
        sink, images, seen = _Sink(), [], dict(names)
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            for rendering in renderings:
                key = plain_text(rendering.annotation.key)
                seen |= {i.class_id: rendering.name_of(i.class_id) for i in rendering.annotation.instances}
                _add(archive, f"labels/train/{key.rpartition('.')[0]}.txt", yolo_rows(rendering))
                images.append(f"images/train/{key}\n")
                yield sink.taken()
            _add(archive, "train.txt", "".join(images).encode())
            content = {"names": complete(seen), "path": ".", "train": "train.txt"}
            _add(archive, "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())
        yield sink.taken()

    def finds(self, path: Path) -> bool:
        """A zip with `data.yaml`, a folder with our `cvat.zip`, or such a zip's content."""
        if path.is_dir():
            return (path / _ZIP).is_file() or lists_images_elsewhere(path)
        if path.suffix.lower() != ".zip":
            return False
        try:
            with contextlib.closing(_Zip(path)) as package:
                return package.find(DATA_YAML) is not None
        except UsageError:
            return False

    def read(self, source: Source) -> LabelSet:
        """The images that the lists name, with the rows of their label files; see `YoloFormat.read`.

        A subset's own folder (`images/train/...`) is no part of a key, unless the images lie in such folders.
        """
        path = source.path / _ZIP if (source.path / _ZIP).is_file() else source.path
        package = _Folder(path) if path.is_dir() else _Zip(path)
        data_yaml = package.find(DATA_YAML)
        if data_yaml is None:
            raise UsageError(f"{path} has no {DATA_YAML}; expected CVAT's 'Ultralytics YOLO Segmentation 1.0'")
        if source.images is None:
            raise UsageError(f"{path}: these labels do not say the images' sizes; give their folder with --images")
        content = parse_yaml(package.read(data_yaml), f"{path}: {data_yaml}")
        top = data_yaml.removesuffix(DATA_YAML)
        lists = [top + posixpath.normpath(file) for file in image_lists(content)]
        if missing := [file for file in lists if not package.has(file)] or ([] if lists else ["train.txt"]):
            raise UsageError(f"{path} has no {missing[0]}, which lists the images")
        said = content.get("names")
        names = parse_names(said, f"{path}: {data_yaml}", unique=False) if said else {}
        listed: dict[str, str] = {}
        for key, label in (pair for file in lists for pair in _listed(package, file, top, source)):
            if listed.setdefault(key, label) != label:
                raise UsageError(f"{path} has two label files for the image {key}: {listed[key]} and {label}")
        return LabelSet(names, entries=_entries(package, listed, names, source), declared=bool(names))


def _listed(package: _Package, file: str, top: str, source: Source) -> Iterator[tuple[str, str]]:
    """Key and label file of each image in a list."""
    subset = file.rpartition("/")[2].removesuffix(".txt") + "/"
    try:
        lines = package.read(file).decode("utf-8-sig").splitlines()
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"cannot read {source.path}: {file}: {one_line(error)}") from error
    for line in lines:
        if not (name := line.strip().replace("\\", "/")):
            continue
        parts = name.split("/")
        below = "/".join(parts[parts.index("images") + 1 :]) if "images" in parts else name
        inner = below.removeprefix(subset)
        key = next((key for key in (inner, below) if key in source.refs), None) or source.key_of(inner)
        yield key, f"{top}labels/{posixpath.splitext(below)[0]}.txt"


def _entries(package: _Package, listed: Mapping[str, str], names: Mapping[int, str], source: Source) -> list[Entry]:
    def parse(key: str, file: str) -> ReadImage:
        return read_rows(key, package.read(file), names, file)

    found = []
    for key in sorted(listed):
        if package.has(listed[key]):
            found.append(Entry(key, functools.partial(parse, file=listed[key]), listed[key]))
        else:
            source.remarks["images have no labels and were left out"] += 1
    return found


class _Package(Protocol):
    """The files of an export, by their names in it."""

    def has(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes: ...

    def find(self, name: str) -> str | None:
        """Where the file lies: at the top, or in the one folder that everything lies in."""
        ...

    def close(self) -> None: ...


class _Folder:
    """An export that has been unpacked."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def has(self, name: str) -> bool:
        return (self._path / name).is_file()

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def find(self, name: str) -> str | None:
        return name if self.has(name) else None

    def close(self) -> None:
        """Nothing is open."""


class _Zip:
    """An export as it is downloaded."""

    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise UsageError(f"cannot read {path}: {one_line(error)}") from error
        self._names = frozenset(self._archive.namelist())

    def has(self, name: str) -> bool:
        return name in self._names

    def read(self, name: str) -> bytes:
        return self._archive.read(name)

    def find(self, name: str) -> str | None:
        found = (own for own in self._names if own == name or (own.endswith("/" + name) and own.count("/") == 1))
        return min(found, key=len, default=None)

    def close(self) -> None:
        self._archive.close()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EARLIEST)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)


class _Sink(io.RawIOBase):
    """Takes what is written until it is taken away; not to be sought in."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data
