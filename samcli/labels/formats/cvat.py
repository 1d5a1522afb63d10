"""CVAT: a zip in its format "Ultralytics YOLO Segmentation 1.0", to be uploaded as annotations of a task.

Read as well: its XML ("CVAT for images 1.1"), and its zips of YOLO 1.1 and COCO 1.0.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import posixpath
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import yaml

from samcli.errors import UsageError, one_line
from samcli.files import Sink, parse_yaml
from samcli.labels.class_names import DATA_YAML, complete, parse_names
from samcli.labels.formats.base import LabelFormat, Rendering, plain_text
from samcli.labels.formats.coco import ROBOFLOW, joined, read_coco
from samcli.labels.formats.cvat_xml import XML, is_cvat_xml, read_cvat_xml
from samcli.labels.formats.sources import LabelSet, Source, label_files
from samcli.labels.formats.yolo import image_lists, lists_images_elsewhere, read_rows, yolo_rows
from samcli.labels.objects import LabelEntry, ReadImage

_NAMES = "obj.names"
"""Class names of YOLO 1.1, a line each."""

_OBJ_DATA = re.compile("obj_.*_data")
"""The folder of a subset of YOLO 1.1."""

_ZIP = "cvat.zip"
_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The date of all entries, so that equal labels are equal bytes."""


class Cvat(LabelFormat):
    """`cvat.zip`: `data.yaml`, `train.txt` and `labels/train/<image>.txt`, without the images."""

    has_rings = True
    loses = frozenset({"borders", "empty", "repeated", "scores"})
    folded_name = _ZIP
    one_per_stem = True
    is_read = True

    def fold(self, renderings: Iterable[Rendering], names: Mapping[int, str]) -> Iterator[bytes]:
        """Yield the zip as it grows."""
        sink, images, seen = Sink(), [], dict(names)
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
        """Return whether it is an export of CVAT (XML, or a zip of XML, YOLO or COCO), or the content of one."""
        if path.is_dir():
            return (path / _ZIP).is_file() or _xml_in(path) is not None or lists_images_elsewhere(path)
        if path.suffix.lower() != ".zip":
            return is_cvat_xml(path)
        try:
            with contextlib.closing(_Zip(path)) as package:
                return any(package.find(name) for name in (DATA_YAML, XML, _NAMES)) or bool(_coco_files(package))
        except UsageError:
            return False

    def read(self, source: Source) -> LabelSet:
        """Read an export of CVAT: its XML, YOLO rows (see `YoloFormat.read`), or a COCO file.

        Of YOLO, every list of images counts, whatever its subset is called; label files that no list names are
        counted. A subset's own folder (`images/train/...`) is no part of a key, unless images lie in such folders.

        Raises:
            UsageError: it holds none of these.
        """
        if (found := _xml_in(source.path)) is not None:
            return _xml(found, source)
        path = source.path / _ZIP if (source.path / _ZIP).is_file() else source.path
        package = _Folder(path) if path.is_dir() else _Zip(path)
        if (file := package.find(XML)) is not None:
            with package.open(file) as opened:
                return read_cvat_xml(opened, f"{path}: {file}", source)
        if files := _coco_files(package):
            return _coco(package, files, source)
        return _yolo(package, path, source)


_LOOKED_AT = 10
"""XML files of a folder that are looked at."""


def _xml_in(path: Path) -> Path | None:
    """CVAT's XML: the file itself, or the one in a folder, whatever it is called."""
    if not path.is_dir():
        return path if is_cvat_xml(path) else None
    if is_cvat_xml(path / XML):
        return path / XML
    first = itertools.islice(path.glob("*.xml"), _LOOKED_AT)  # a folder of Pascal VOC has one for each image
    files = [file for file in first if is_cvat_xml(file)]
    return files[0] if len(files) == 1 else None


def _xml(file: Path, source: Source) -> LabelSet:
    with file.open("rb") as opened:
        return read_cvat_xml(opened, str(file), source)


def _coco_files(package: _Package) -> list[str]:
    """Return the files of COCO's format, one a subset: CVAT's, or Roboflow's."""
    places = [(name, *f"/{name}".rpartition("/")) for name in package.names(".json")]
    return [name for name, folder, _, base in places if folder.endswith("/annotations") or base == ROBOFLOW]


def _coco(package: _Package, files: Sequence[str], source: Source) -> LabelSet:
    """Return the labels of all subsets, whose classes must be the same.

    Raises:
        UsageError: they are not, or a file cannot be read.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="samcli-") as folder:
        for name in files:
            file = Path(folder) / source.path.name / name.replace("/", "-")  # seen in messages
            file.parent.mkdir(exist_ok=True)
            with package.open(name) as packed, file.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
            below = name.rpartition("/")[0] if name.endswith(ROBOFLOW) else ""
            try:
                found.append(read_coco(file, source, below))
            except UsageError as error:
                raise UsageError(str(error).replace(str(file), f"{source.path}: {name}")) from error
    return joined(found, source.path)


def _yolo(package: _Package, path: Path, source: Source) -> LabelSet:
    data_yaml, obj_names = package.find(DATA_YAML), package.find(_NAMES)
    if data_yaml is None and obj_names is None:
        raise UsageError(f"{path} has no {DATA_YAML}, {_NAMES} or {XML}; expected an export of CVAT")
    if source.images is None and not source.sizes_elsewhere:
        raise UsageError(f"{path}: these labels do not say the images' sizes; give their folder with --images")
    if data_yaml is not None:
        top, where = data_yaml.removesuffix(DATA_YAML), f"{path}: {data_yaml}"
        content = parse_yaml(package.read(data_yaml), where)
        lists = [top + posixpath.normpath(file) for file in image_lists(content)]
        said = content.get("names") if isinstance(content, dict) else None
    else:
        top, where = str(obj_names).removesuffix(_NAMES), f"{path}: {obj_names}"
        lists = [name for name in package.names(".txt") if name.startswith(top) and "/" not in name[len(top) :]]
        said = package.read(str(obj_names)).decode("utf-8-sig", "replace").split("\n")
        said = [name.strip() for name in said if name.strip()]
    names = parse_names(said, where, source.remarks) if said else {}
    if data_yaml is not None and not lists:
        return LabelSet(names, entries=_unlisted(package, top, names), declared=bool(names))
    if missing := [file for file in lists if not package.has(file)] or ([] if lists else ["train.txt"]):
        raise UsageError(f"{path} has no {missing[0]}, which lists the images")
    listed = [image for file in lists for image in _listed(package, file, top, source)]
    entries = _entries(package, dict.fromkeys(listed), names, source)
    known = {image.label for image in listed} | set(lists)
    if unlisted := sum(name not in known for name in package.names(".txt")):
        source.remarks["label files are named by no list of images and were left out"] += unlisted
    return LabelSet(names, entries=entries, declared=bool(names))


@dataclass(frozen=True)
class _Listed:
    """An image in a list."""

    path: str
    """Below `images` or the folder of its subset."""
    inner: str
    """Below the folder of its subset."""
    label: str
    """Its label file in the package."""


def _listed(package: _Package, file: str, top: str, source: Source) -> Iterator[_Listed]:
    """Yield the images in a list."""
    subset = file.rpartition("/")[2].removesuffix(".txt") + "/"
    try:
        lines = package.read(file).decode("utf-8-sig").splitlines()
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"cannot read {source.path}: {file}: {one_line(error)}") from error
    for line in lines:
        if not (name := line.strip().replace("\\", "/").removeprefix("./")):
            continue
        parts = name.split("/")
        if "images" in parts:
            below = "/".join(parts[parts.index("images") + 1 :])
            yield _Listed(below, below.removeprefix(subset), f"{top}labels/{posixpath.splitext(below)[0]}.txt")
        elif (own := next((part for part in parts if _OBJ_DATA.fullmatch(part)), None)) is not None:
            below = "/".join(parts[parts.index(own) :])
            yield _Listed(below, below.removeprefix(own + "/"), f"{top}{posixpath.splitext(below)[0]}.txt")
        else:
            yield _Listed(name, name.removeprefix(subset), f"{top}labels/{posixpath.splitext(name)[0]}.txt")


def _unlisted(package: _Package, top: str, names: Mapping[int, str]) -> list[LabelEntry]:
    """Return the label files of a data set that lists folders instead of images, each of the image of its own
    place.
    """

    def parse(key: str, file: str) -> ReadImage:
        return read_rows(key, package.read(file), names, file)

    found = []
    for file in package.names(".txt"):
        parts = posixpath.splitext(file.removeprefix(top))[0].split("/")
        if not file.startswith(top) or "labels" not in parts:
            continue
        index = parts.index("labels")
        beside = "/".join(["images" if place == index else part for place, part in enumerate(parts)])
        below = "/".join([*parts[:index], *parts[index + 1 :]])
        stems = (beside, below, "/".join(parts[index + 1 :]), parts[-1])
        found.append(LabelEntry(below, functools.partial(parse, file=file), file, stems=stems))
    return found


def _entries(
    package: _Package, listed: Iterable[_Listed], names: Mapping[int, str], source: Source
) -> list[LabelEntry]:
    def parse(key: str, file: str) -> ReadImage:
        return read_rows(key, package.read(file), names, file)

    found = []
    for image in listed:
        if package.has(image.label):
            read = functools.partial(parse, file=image.label)
            found.append(LabelEntry(image.inner, read, image.label, keys=(image.inner, image.path)))
        else:
            source.remarks["images have no labels and were left out"] += 1
    return found


class _Package(Protocol):
    """The files of an export, by their names in it."""

    def has(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes: ...

    def open(self, name: str) -> IO[bytes]: ...

    def names(self, suffix: str) -> list[str]:
        """Return the files whose names end so, in order."""
        ...

    def find(self, name: str) -> str | None:
        """Return the path of the file: at the top, or in the only folder that contains everything."""
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

    def open(self, name: str) -> IO[bytes]:
        return (self._path / name).open("rb")

    def names(self, suffix: str) -> list[str]:
        return sorted(name for name, _ in label_files(self._path, suffix))

    def find(self, name: str) -> str | None:
        return name if self.has(name) else None

    def close(self) -> None:
        """Nothing is open."""


class _Zip:
    """An export as it is downloaded."""

    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise UsageError(f"cannot read {path}: it is no zip file; expected an export of CVAT") from error
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or one_line(error)}") from error
        self._names = frozenset(self._archive.namelist())

    def has(self, name: str) -> bool:
        return name in self._names

    def read(self, name: str) -> bytes:
        return self._archive.read(name)

    def open(self, name: str) -> IO[bytes]:
        return self._archive.open(name)

    def names(self, suffix: str) -> list[str]:
        return sorted(name for name in self._names if name.endswith(suffix))

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
