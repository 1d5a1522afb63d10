"""CVAT: a zip in its format "Ultralytics YOLO Segmentation 1.0", to be uploaded as annotations of a task."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping

import yaml

from samcli.class_names import complete
from samcli.formats.base import LabelFormat, Rendering, plain_text
from samcli.formats.yolo import yolo_rows

_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The date of all entries, so that equal labels are equal bytes."""


class Cvat(LabelFormat):
    """`cvat.zip`: `data.yaml`, `train.txt` and `labels/train/<image>.txt`, without the images."""

    loses = frozenset({"borders", "empty", "repeated", "scores"})
    folded_name = "cvat.zip"
    one_per_stem = True

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
