"""Class maps where objects come from: a detector, or prompts. All that follows knows the new classes alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from samcli.config import ClassMapOptions
from samcli.detectors.base import Detector
from samcli.labels.class_map import ClassMap, MappedClasses, read_class_map
from samcli.masks import box_iou
from samcli.prompts import ObjectPrompt, PromptSource
from samcli.types import Detections, Image, Size


def open_class_map(options: ClassMapOptions) -> ClassMap | None:
    """Return the class map that the options name; None where they name none.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    return read_class_map(Path(options.class_map).expanduser()) if options.class_map is not None else None


def class_map_facts(class_map: ClassMap | None) -> dict[str, Any]:
    """Return the recipe's entry for a class map: its content, not its file name or the order of its lines."""
    if class_map is None:
        return {}
    return {"class_map": sorted(([old, new] for old, new in class_map.rules.items()), key=repr)}


class MappedDetector:
    """A detector whose classes go by other names; what it finds of dropped classes it has not found.

    Detectors look for boxes of one object class by class (NMS). Where classes are merged, a car that was found
    as a lorry too would be labelled twice: of boxes whose classes have become one, the surer stays.
    """

    def __init__(self, detector: Detector, class_map: ClassMap, iou: float) -> None:
        """`iou`: boxes of merged classes that overlap by more than this are one object, as for the detector's NMS.

        Raises:
            UsageError: the map does not fit the detector's classes.
        """
        self._detector = detector
        self._iou = iou
        mapped = class_map.apply(detector.names)
        self.names = mapped.names
        self._ids = mapped.ids

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """See Detector."""
        return [self._mapped(found) for found in self._detector.detect(images)]

    def _mapped(self, found: Detections) -> Detections:
        new = [self._ids[old] for old in found.class_ids.tolist()]
        kept = self._kept(found, new)
        masks = None if found.masks is None else tuple(found.masks[index] for index in kept)
        ids = np.array([new[index] for index in kept], np.int64)
        return Detections(found.boxes[kept], ids, found.scores[kept], masks)

    def _kept(self, found: Detections, new: Sequence[int | None]) -> list[int]:
        """Places of the detections that stay, in order; the best score counts first."""
        boxes, old = found.boxes.tolist(), found.class_ids.tolist()
        kept: list[int] = []
        for index in np.argsort(-found.scores, kind="stable").tolist():
            rivals = (other for other in kept if new[other] == new[index] and old[other] != old[index])
            if new[index] is not None and all(box_iou(boxes[other], boxes[index]) <= self._iou for other in rivals):
                kept.append(index)
        return sorted(kept)


@dataclass(frozen=True)
class MappedSource:
    """Prompts whose classes go by other names; objects of dropped classes are not asked for. See `PromptSource`."""

    source: PromptSource
    class_map: ClassMap

    @cached_property
    def _mapped(self) -> MappedClasses:
        return self.class_map.apply(self.source.names)

    @property
    def names(self) -> dict[int, str]:
        """Return the new ones.

        Raises:
            UsageError: the map does not fit the source's classes.
        """
        return self._mapped.names

    @property
    def notes(self) -> tuple[str, ...]:
        return self.source.notes

    @property
    def lost(self) -> Mapping[str, str]:
        return self.source.lost

    def recipe(self) -> dict[str, Any]:
        return {**self.source.recipe(), **class_map_facts(self.class_map)}

    def matched(self, keys: Iterable[str]) -> MappedSource:
        return MappedSource(self.source.matched(keys), self.class_map)

    def keys(self) -> Collection[str] | None:
        return self.source.keys()

    def digest(self, key: str) -> str:
        return self.source.digest(key)

    def omitted(self, key: str) -> int:
        return self.source.omitted(key)

    def for_image(self, key: str, image_size: Size) -> list[ObjectPrompt]:
        asked = [(prompt, self._mapped.ids[prompt.class_id]) for prompt in self.source.for_image(key, image_size)]
        return [replace(prompt, class_id=new) for prompt, new in asked if new is not None]
