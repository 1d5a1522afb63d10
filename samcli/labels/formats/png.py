"""Index maps: for each image a PNG of instance numbers and one of classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from samcli.labels.class_names import names_beside, write_class_names
from samcli.labels.formats.base import LabelFormat, Rendering
from samcli.labels.formats.index_maps import class_map, map_png, masks_of, read_map
from samcli.labels.formats.sources import LabelSet, Source, first_file
from samcli.types import Annotation, Instance

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

    def data_set_files(self, names: Mapping[int, str], splits: Mapping[str, str]) -> dict[str, bytes]:
        """The class names."""
        return {_NAMES: write_class_names(names)}

    def finds(self, path: Path) -> bool:
        """A folder with both trees."""
        return all(path.is_dir() and first_file(path, suffix) is not None for suffix in (_INSTANCES, _CLASSES))

    def read(self, source: Source) -> LabelSet:
        """An object's class is the one that most of its pixels have."""
        top = len(str(source.folder / "instances"))

        def parse(key: str, file: str) -> Annotation:
            labels = read_map(file)
            classes = read_map(f"{source.folder}/classes{file[top:]}")
            if labels.shape != classes.shape:
                raise ValueError(f"{labels.shape} pixels, but the class map has {classes.shape}")
            instances = []
            for number, mask in masks_of(labels).items():
                values = np.bincount(classes[labels == number])
                if (value := int(values.argmax())) == 0:
                    raise ValueError(f"instance {number} is background in the class map")
                instances.append(Instance(mask, value - 1))
            return Annotation(key, (labels.shape[0], labels.shape[1]), tuple(instances))

        names = names_beside(source.folder, (_NAMES,))
        if not names:
            source.remarks[f"folder of labels has no {_NAMES}: numbers stand for class names"] += 1
        return LabelSet(names, source.of_images(_INSTANCES, parse))
