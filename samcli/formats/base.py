"""What a label format is, and what it is given of an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from samcli.polygons import PolygonOptions, Polygons, mask_to_polygons
from samcli.types import Annotation

T = TypeVar("T", bound=np.generic)

Files = bytes | dict[str, bytes]
"""One file, or a folder of files by name."""


@dataclass(frozen=True)
class Rendering:
    """One image's annotation and all that a writer may need beside it.

    `pixels`: uint8 (H, W, 3) RGB; `logits`: float32 (N, h, w), low-resolution, one for each instance; `edges`:
    uint8 (H, W). Each is there only for a run with a format that `needs` it.
    """

    annotation: Annotation
    names: Mapping[int, str] = field(default_factory=dict)
    polygon_options: PolygonOptions = field(default_factory=PolygonOptions)
    pixels: NDArray[np.uint8] | None = None
    logits: NDArray[np.float32] | None = None
    edges: NDArray[np.uint8] | None = None

    @cached_property
    def polygons(self) -> list[Polygons]:
        """The instances' polygons, in order; made once, by the first writer that asks."""
        return [mask_to_polygons(instance.mask, self.polygon_options) for instance in self.annotation.instances]


def given(value: NDArray[T] | None) -> NDArray[T]:
    """What a format `needs`, which the run must have provided.

    Raises:
        ValueError: it did not: records alone do not hold it.
    """
    if value is None:
        raise ValueError("this format needs more than the records hold: name it when the masks are made")
    return value


class LabelFormat:
    """Writes something for each image, perhaps some files for the whole data set, or only one file for all."""

    suffix: str | None = None
    """Of one image's label file; "" for a folder named as the image; None where images have none."""

    needs: frozenset[str] = frozenset()
    """Which of a rendering's `pixels`, `logits` and `edges` it reads."""

    data_set_names: Sequence[str] = ()
    """Names of the files for the whole data set that are written when a run begins."""

    folded_name: str | None = None
    """Name of the one file for all images, made from the records when a run ends."""

    def render(self, rendering: Rendering) -> Files:
        """What is written for one image."""
        raise NotImplementedError(f"{type(self).__name__} writes nothing for one image")

    def data_set_files(self, names: Mapping[int, str], splits: Mapping[str, str]) -> dict[str, bytes]:
        """Files for the whole data set by name; `splits`: image folders as seen from there, by `train`, `val`."""
        return {}

    def fold(self, annotations: Iterable[Annotation], names: Mapping[int, str]) -> Iterable[bytes]:
        """The pieces of the file for all images, in constant memory; annotations come in the order of keys."""
        raise NotImplementedError(f"{type(self).__name__} folds nothing")
