"""Look for objects only in regions of the images (`--roi`): which objects count, and what a run remembers."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samcli.config import JobOptions, RegionOptions
from samcli.detectors.base import Detector
from samcli.errors import ImageError
from samcli.jobs.base import Job
from samcli.jobs.worker import AnnotatedImage
from samcli.masks import Box
from samcli.prompts.regions import Regions, open_regions
from samcli.types import Detections, Image

Wanted = Callable[[NDArray[np.float64]], NDArray[np.bool_]]
"""Which of the points (N, 2) x, y in pixels of an image lie in its regions, bool (N,)."""


class RegionJobOptions(JobOptions, Protocol):
    """Options of a job that can be limited to regions."""

    @property
    def regions(self) -> RegionOptions: ...


class RegionJob(Job[AnnotatedImage]):
    """A job that looks for objects in whole images, or in regions of them."""

    options: RegionJobOptions

    @functools.cached_property
    def regions(self) -> Regions | None:
        """Return the regions that `--roi` names, read once; None without it.

        Raises:
            UsageError: they cannot be read.
        """
        roi = self.options.regions.roi
        return None if roi is None else open_regions(Path(roi).expanduser())

    def recipe(self) -> dict[str, Any]:
        """Return the recipe, with whether there are regions; which ones is in each image's `digest`."""
        recipe = super().recipe()
        return {**recipe, "roi": True} if "roi" in recipe else recipe

    def matched(self, keys: Sequence[str]) -> RegionJob:
        """Return the job with its regions held against these images; this job stays as it is."""
        if self.regions is None:
            return self
        job = copy.copy(self)
        vars(job)["regions"] = self.regions.matched(keys)  # jobs may be frozen
        return job

    def digest(self, key: str) -> str:
        """Return a short hash of the image's regions."""
        if self.regions is None:
            return ""
        try:
            return self.regions.digest(key)
        except ImageError:
            return "unreadable"

    def notes(self, output: Path) -> list[str]:
        """Return the notes, with those about images without regions."""
        return [*super().notes(output), *(self.regions.notes if self.regions else ())]


def wanted_points(regions: Regions | None, image: Image) -> Wanted | None:
    """Return the test of which points of an image are clicked; None: all of them.

    Raises:
        ImageError: its regions cannot be read, or lie outside of it.
    """
    region = regions.of(image.ref.key, image.image_size) if regions is not None else None
    return None if region is None else region.holds


def meets_region(regions: Regions | None) -> Callable[[Image, Box], bool]:
    """Return the test of whether a part of an image may show objects that are wanted."""

    if regions is None:
        return lambda image, part: True
    of = functools.lru_cache(maxsize=4)(regions.of)  # an image has many parts

    def meets(image: Image, part: Box) -> bool:
        region = of(image.ref.key, image.image_size)
        return region is None or region.meets(part)

    return meets


class RegionDetector:
    """A detector of which only those objects count whose box has its centre in a region of the image."""

    def __init__(self, detector: Detector, regions: Regions) -> None:
        self.names = detector.names
        self._detector = detector
        self._regions = regions

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """See Detector.

        Raises:
            ImageError: the regions of an image cannot be read, or lie outside of it.
        """
        wanted = [wanted_points(self._regions, image) for image in images]
        found = self._detector.detect(images)
        return [
            one if inside is None else inside_of(one, inside) for one, inside in zip(found, wanted, strict=True)
        ]


def inside_of(found: Detections, wanted: Wanted) -> Detections:
    """Return the detections whose boxes have their centres where it is wanted."""
    boxes = found.boxes.astype(np.float64)
    kept = wanted((boxes[:, :2] + boxes[:, 2:]) / 2)
    masks = None
    if found.masks is not None:
        masks = tuple(mask for mask, stays in zip(found.masks, kept, strict=True) if stays)
    return Detections(found.boxes[kept], found.class_ids[kept], found.scores[kept], masks)
