"""Index maps: for each image a PNG of instance numbers and one of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samcli.errors import UsageError
from samcli.labels.class_names import names_beside, write_class_names
from samcli.labels.formats.base import Files, LabelFormat, Rendering
from samcli.labels.formats.index_maps import ExistingMap, class_map, draw_beside, map_png, masks_of, read_map
from samcli.labels.formats.sources import LabelSet, Source, first_file
from samcli.labels.objects import LabelledObject, Pixels, ReadImage, gather
from samcli.masks import Mask

_INSTANCES, _CLASSES = "instances/.png", "classes/.png"
_NAMES = "classes.txt"


class IndexMaps(LabelFormat):
    """`instances/<image>.png`: i + 1 for the i-th object; `classes/<image>.png`: class id + 1. 0 is background.

    Both with a palette, or grey of 16 bits where a number is above 255. `classes.txt` has a name a line: the
    first is the name of 1 in the class maps.
    """

    loses = frozenset({"overlaps", "empty", "scores"})
    data_set_names = (_NAMES,)
    has_pictures = True
    is_read = True

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Two trees."""
        return _INSTANCES, _CLASSES

    def render_all(self, rendering: Rendering) -> list[bytes | dict[str, bytes]]:
        """Small objects lie on top of large ones."""
        return [map_png(rendering.label_map), map_png(class_map(rendering))]

    extends = True

    def extended_all(self, existing: Sequence[bytes | None], rendering: Rendering) -> list[Files]:
        """Pixels that had a number keep it; added objects get further numbers and the pixels that are free.

        Raises:
            ValueError: one of the two maps was not there.
        """
        if existing[0] is None or existing[1] is None:
            raise ValueError("it had one of the two maps alone; expected both")
        instances = rendering.added.annotation.instances
        if not instances and not rendering.gone:
            return [existing[0], existing[1]]
        objects, classes = map(ExistingMap.of, (existing[0], existing[1]))
        numbers = [number for number in np.unique(objects.numbers).tolist() if number]
        leaving = np.isin(objects.numbers, [numbers[place] for place in rendering.gone])
        objects.numbers[leaving] = classes.numbers[leaving] = 0
        free = (objects.numbers == 0) & (classes.numbers == 0)
        draw_beside(objects, classes, instances, max(numbers, default=0) + 1, free)
        return [objects.png(), classes.png()]

    def data_set_files(self, names: Mapping[int, str], splits: Mapping[str, str]) -> dict[str, bytes]:
        """Return the class names."""
        return {_NAMES: write_class_names(names)}

    def finds(self, path: Path) -> bool:
        """Return whether it is a folder with both trees."""
        return all(path.is_dir() and first_file(path, suffix) is not None for suffix in (_INSTANCES, _CLASSES))

    def read(self, source: Source) -> LabelSet:
        """Read label maps; an object's class is that of most of its pixels."""
        top = len(str(source.folder / "instances"))

        def parse(key: str, file: str) -> ReadImage:
            size = source.size(key)
            labels = read_map(file, size)
            classes = read_map(f"{source.folder}/classes{file[top:]}", size)
            numbered = ((f"object {number}", (number, mask)) for number, mask in masks_of(labels).items())
            objects, omitted = gather(numbered, lambda item: _object(*item, labels, classes))
            return ReadImage(key, objects, omitted=omitted)

        names = names_beside(source.folder, (_NAMES,), remarks=source.remarks)
        if not names:
            source.remarks[f"label folder has no class names ({_NAMES}): using class ids"] += 1
        if source.images is None and not source.sizes_elsewhere:
            raise UsageError(f"{source.path}: these labels do not name their images; give the folder with --images")
        entries, lost = source.image_entries(_INSTANCES, parse)
        return LabelSet(names, entries=entries, failures=lost, declared=bool(names))


def _object(number: int, mask: Mask, labels: NDArray[np.int64], classes: NDArray[np.int64]) -> LabelledObject:
    """Read an object; its class is that of most of its pixels.

    Raises:
        ValueError: that is background.
    """
    class_id = int(np.bincount(classes[labels == number]).argmax()) - 1
    if class_id < 0:
        raise ValueError(f"instance {number} is background in the class map")
    return LabelledObject(Pixels(mask), class_id, where=f"object {number}")
