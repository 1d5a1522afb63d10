"""Embeddings to disk: the slow half of SAM once, every prompt after that in a fraction of the time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samcli.config import EncodeOptions
from samcli.errors import ImageError
from samcli.files import write_atomic
from samcli.images.tiling import cut_out
from samcli.jobs.base import Job, Models
from samcli.jobs.plan import Plan
from samcli.jobs.segmenting import check_prompted, load_engine
from samcli.jobs.views import open_tiling
from samcli.jobs.worker import BaseWorker
from samcli.masks import Box
from samcli.output.embeddings import (
    NPY_SUFFIX,
    SUFFIX,
    TILES_SUFFIX,
    Tiles,
    stored_tensors,
    write_embedding,
    write_npy,
    write_tiles,
)
from samcli.output.layout import LabelFiles
from samcli.output.locks import own_record
from samcli.output.manifest import Product
from samcli.output.records import write_record
from samcli.types import Annotation, Embedding, Image, ImageRef, Outcome, Size, Status

if TYPE_CHECKING:
    from torch import Tensor

    from samcli.sam.engine import Engine


@dataclass(frozen=True)
class Encode(Job[Embedding]):
    """A folder of images in, their embeddings out."""

    options: EncodeOptions
    command = "encode"
    product = Product.EMBEDDINGS
    folder = "embeddings"

    def __post_init__(self) -> None:
        check_prompted(self.options.segmenter.sam)

    @property
    def checkpoints(self) -> dict[str, str]:
        """SAM's."""
        return {"sam": self.options.segmenter.sam}

    @property
    def suffixes(self) -> list[str]:
        """Return the suffixes of an image's files."""
        wanted = {SUFFIX: True, NPY_SUFFIX: self.options.npy, TILES_SUFFIX: self.options.tiles.tile is not None}
        return [suffix for suffix, is_wanted in wanted.items() if is_wanted]

    def load(self, plan: Plan, models: Models) -> EncodeWorker:
        """Return the image encoder."""
        return EncodeWorker(load_engine(plan, models, self.options), plan.labels, self.options)

    def notes(self, output: Path) -> list[str]:
        """Return a note on how to use the embeddings."""
        return [
            *super().notes(output),
            f"Use them:  samcli prompt ... --sam {self.options.segmenter.sam} --embeddings {output}",
        ]


class EncodeWorker(BaseWorker[Embedding]):
    """The image encoder, and the files of its embeddings."""

    def __init__(self, engine: Engine, labels: LabelFiles, options: EncodeOptions) -> None:
        super().__init__(options.input, on_cpu=engine.device.type == "cpu")
        self._engine = engine
        self._labels = labels
        self._options = options
        self._tiling = open_tiling(options.tiles, engine.side)

    def annotate(self, images: Sequence[Image]) -> list[Embedding]:
        """Return the embedding of each image; those of tiles are written at once, as many do not fit the memory.

        Raises:
            ImageError: an embedding is not finite, or would not be in the file.
            StorageError, OSError: the tiles cannot be written.
        """
        with self.clock.measure("encode"):
            embeddings = [self._checked(embedding) for embedding in self._engine.encode(images)]
        for image in images if self._tiling is not None else ():
            self._write_tiles(image)
        return embeddings

    def _checked(self, embedding: Embedding) -> Embedding:
        if not _is_finite(stored_tensors(embedding, self._options.dtype).values()):
            raise ImageError(self._flaw(embedding))
        return embedding

    def _write_tiles(self, image: Image) -> None:
        size = image.image_size
        boxes = self._tiling.tiles(size) if self._tiling is not None and self._tiling.applies_to(size) else []

        def encode(tile: Box) -> Embedding:
            with self.clock.measure("encode"):
                return self._checked(self._engine.encode([cut_out(image, tile)])[0])

        self._claim(image.ref, size)
        path = Path(self._labels.paths(image.ref.key)[self._labels.suffixes.index(TILES_SUFFIX)])
        write_tiles(path, Tiles(image.ref, size, tuple(boxes), self._engine.model), encode, self._options.dtype)

    def _claim(self, ref: ImageRef, size: Size) -> None:
        """Write the record, which says no more than that the files beside it are ours."""
        write_atomic(own_record(self._labels.layout, ref.key), write_record(Annotation(ref.key, size), {}))

    def _flaw(self, embedding: Embedding) -> str:
        """Why an embedding cannot be stored: the network's arithmetic or the file's numbers."""
        if not _is_finite((embedding.features, *embedding.high_res)):
            return f"its embedding is not finite in {self._engine.precision}; try --precision fp32"
        dtype = self._options.dtype
        others = "fp32 or bf16" if dtype == "fp16" else "fp32"
        return f"its embedding has numbers that are too large for {dtype}; try --dtype {others}"

    def publish(self, ref: ImageRef, result: Embedding) -> Outcome:
        """Write its files."""
        with self.clock.measure("write"):
            data = [write_embedding(ref, result, self._options.dtype)]
            if self._options.npy:
                data.append(write_npy(result))
            self._claim(ref, result.image_size)
            for content, path in zip(data, self._labels.paths(ref.key), strict=False):  # tiles have been written
                write_atomic(Path(path), content)
        return Outcome(ref, Status.DONE, whole_name=ref.key in self._labels.whole_names)


def _is_finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
