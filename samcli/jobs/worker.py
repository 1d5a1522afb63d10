"""The worker: image refs in, outcomes out. It loads its models once and does not know where it runs.

ref -> read -> Image -> annotate -> AnnotatedImage -> publish -> files -> Outcome
"""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from samcli.config import InputOptions
from samcli.errors import ImageError, StorageError
from samcli.images import Content, read_image
from samcli.images.hanging import within
from samcli.labels.formats import LabelFormat, Rendering
from samcli.labels.writing import write_annotation
from samcli.output.authors import authors_but_machine
from samcli.output.layout import LabelFiles
from samcli.polygons import PolygonOptions
from samcli.types import Annotation, Image, ImageRef, Outcome, Size, Status, UndecodedImage

R = TypeVar("R")


@dataclass
class StageClock:
    """Seconds spent in each stage, over all threads; the stages overlap, so they sum to more than the run."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] += time.perf_counter() - start


class BaseWorker(ABC, Generic[R]):
    """Base class of the workers of all commands; `R` is the type that `annotate` passes to `publish`.

    `read` and `publish` may be called from many threads.
    """

    def __init__(self, limits: InputOptions, *, on_cpu: bool, clock: StageClock | None = None) -> None:
        self.clock = clock or StageClock()
        self.default_batch = 1 if on_cpu else 8
        """Images at once when the user does not say: a CPU gains nothing from more than one."""
        self._limits = limits
        self.on_large: Callable[[ImageRef], None] = lambda ref: None
        """Called before a large image is decoded; see `read_image`."""
        self.content: Content | None = None
        """Opens images that are no files below the input root."""

    @property
    def names(self) -> Mapping[int, str]:
        """Class id to class name."""
        return {}

    def read(self, ref: ImageRef) -> Image:
        """Decode one image.

        Raises:
            ImageError: it cannot be read.
            StorageError: the input folder is gone.
        """
        with self.clock.measure("decode"):
            try:
                return within(self._limits.image_timeout, lambda: self._decode(ref))
            except ImageError:
                if (
                    self.content is None and not ref.root.is_dir()
                ):  # unmounted or moved away: no verdict on the images
                    raise StorageError(
                        f"the input folder {ref.root} is gone; bring it back and run again"
                    ) from None
                raise

    def _decode(self, ref: ImageRef) -> Image:
        return read_image(ref, max_pixels=self._limits.max_pixels, on_large=self.on_large, content=self.content)

    def notes(self) -> list[str]:
        """Return the notes for the user at the end."""
        return []

    @abstractmethod
    def annotate(self, images: Sequence[Image]) -> list[R]:
        """Run the networks on images; `publish` receives the results."""

    @abstractmethod
    def publish(self, ref: ImageRef, result: R) -> Outcome:
        """Write one image's files; each whole or not at all.

        Raises:
            StorageError: the output cannot be written at all.
            OSError: this image's files cannot be written.
        """


@dataclass(frozen=True)
class AnnotatedImage:
    """An image's annotation, and what a format needs beside it (see `Rendering`)."""

    annotation: Annotation
    logits: NDArray[np.float32] | None = None
    edges: NDArray[np.uint8] | None = None
    pixels: NDArray[np.uint8] | None = None


class Annotator(Protocol):
    """The networks of a command, and how it uses them."""

    @property
    def names(self) -> Mapping[int, str]:
        """Class id to class name."""
        ...

    @property
    def on_cpu(self) -> bool:
        """Return whether the networks run on the CPU."""
        ...

    def annotate(self, images: Sequence[Image]) -> list[AnnotatedImage]:
        """Return the annotation of each image."""
        ...


SizeOf = Callable[[ImageRef], Size | None]
"""The size of an image whose masks can be found without its pixels; None for others."""


def no_size(ref: ImageRef) -> None:
    """See SizeOf: all images are to be decoded."""


class Worker(BaseWorker[AnnotatedImage]):
    """An annotator and the writers of one recipe."""

    def __init__(
        self,
        annotator: Annotator,
        labels: LabelFiles,
        formats: Sequence[LabelFormat],
        shapes: PolygonOptions,
        *,
        limits: InputOptions,
        clock: StageClock | None = None,
        notes: Callable[[], list[str]] = list,
        size_of: SizeOf = no_size,
    ) -> None:
        super().__init__(limits, on_cpu=annotator.on_cpu, clock=clock)
        self._notes = notes
        self._size_of = size_of
        self._annotator = annotator
        self._labels = labels
        self._formats = [fmt for fmt in formats if fmt.suffixes]
        self._keeps_pixels = any("pixels" in fmt.needs for fmt in formats)
        self._polygon_options = shapes

    @property
    def names(self) -> Mapping[int, str]:
        """Class id to class name."""
        return self._annotator.names

    def notes(self) -> list[str]:
        """Return the notes of the annotator's sources."""
        return self._notes()

    def read(self, ref: ImageRef) -> Image:
        """Decode one image, or leave it undecoded where its size is enough. Raises what BaseWorker's raises."""
        size = None if self._keeps_pixels else self._size_of(ref)
        if size is None or size[0] * size[1] > self._limits.max_pixels:  # too large: decoding says so
            return super().read(ref)
        decode = super().read
        return UndecodedImage(ref, size, lambda: decode(ref).pixels)

    def annotate(self, images: Sequence[Image]) -> list[AnnotatedImage]:
        """Return the annotation of each image, with its pixels where a format draws on them."""
        found = self._annotator.annotate(images)
        if not self._keeps_pixels:
            return found
        return [replace(finding, pixels=image.pixels) for finding, image in zip(found, images, strict=True)]

    def publish(self, ref: ImageRef, result: AnnotatedImage) -> Outcome:
        """Write the record, then the labels."""
        with self.clock.measure("write"):
            annotation = result.annotation
            rendering = Rendering(
                annotation, self.names, self._polygon_options, result.pixels, result.logits, result.edges,
                images=self._labels.layout.images_from_output,
            )  # fmt: skip
            whole_name = ref.key in self._labels.whole_names
            written = write_annotation(rendering, self._formats, self._labels.layout, whole_name=whole_name)
        counts = Counter(i.class_id for i in annotation.instances)
        return Outcome(
            ref, Status.DONE, counts, dropped=len(annotation.dropped), whole_name=whole_name,
            withheld=annotation.withheld, rows=written.rows, low_polygons=written.low_polygons,
            authors=authors_but_machine(annotation.instances),
        )  # fmt: skip
