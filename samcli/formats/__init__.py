"""Label formats, one small file each. A format turns an annotation into the bytes of one file per image.

The lossless record (`records`) is the truth; every other format can be made from it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from samcli.formats.yolo import YoloFormat
from samcli.polygons import Polygons
from samcli.types import Annotation


class LabelFormat(Protocol):
    """Writes one file per image, and perhaps some for the whole data set."""

    @property
    def suffix(self) -> str:
        """Of one image's label file."""
        ...

    @property
    def data_set_names(self) -> tuple[str, ...]:
        """Names of the files for the whole data set."""
        ...

    def render(self, annotation: Annotation, polygons: Sequence[Polygons]) -> bytes:
        """The label file of one image; `polygons` are those of its instances, in order."""
        ...

    def data_set_files(self, names: Mapping[int, str], splits: Mapping[str, str]) -> dict[str, bytes]:
        """Files for the whole data set by name; `splits`: image folders as seen from there, by `train`, `val`."""
        ...


FORMATS: dict[str, LabelFormat] = {"yolo": YoloFormat()}
"""By the name that `--format` takes."""
