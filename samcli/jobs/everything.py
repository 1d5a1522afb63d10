"""Masks of everything in a folder of images."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samcli.config import EverythingOptions, MaskGeneratorOptions
from samcli.detectors.fastsam import FastSam
from samcli.detectors.ultralytics import is_exported
from samcli.errors import UsageError
from samcli.files import read_array, sha256_of
from samcli.images.tiling import Tiling
from samcli.jobs.base import Models
from samcli.jobs.beside import with_corrected
from samcli.jobs.plan import Plan
from samcli.jobs.regions import RegionJob, inside_of, wanted_points
from samcli.jobs.segmenting import Encoder, check_family, find_fastsam, load_engine, open_encoder, refuse
from samcli.jobs.views import open_tiling
from samcli.jobs.worker import AnnotatedImage, Annotator, SizeOf, StageClock, Worker, no_size
from samcli.masks import Mask, box_iou
from samcli.output.embeddings import store_facts
from samcli.prompts.regions import Regions
from samcli.sam.edges import edge_map
from samcli.sam.mask_generator import Places, everything, exclusive, without_small_regions
from samcli.types import UNNAMED, Annotation, Detections, Embedding, Image, Instance, Quality

if TYPE_CHECKING:
    from samcli.sam.engine import Engine

Grids = list[NDArray[np.float64]]

_FOR_ANY_MASK = ("min_mask_region_area", "exclusive")
_ONLY_SAM = (
    *(entry.name for entry in dataclasses.fields(MaskGeneratorOptions) if entry.name not in _FOR_ANY_MASK),
    "point_grid",
    "edges",
    "embeddings",
    "compile",
    "tile",
    "tile_overlap",
)
"""Options that FastSAM, which is not clicked at, has no use for."""

_OF_THE_GRID = ("points_per_side", "crop_n_points_downscale_factor")
"""Options that say where the grid's points are, which --point-grid does itself."""


@dataclass(frozen=True)
class Everything(RegionJob):
    """A folder of images in; masks in amg.py's layout, or any other, out."""

    options: EverythingOptions
    command = "everything"
    provides = frozenset({"pixels", "edges"})
    folder = "masks"

    def __post_init__(self) -> None:
        options = check_family(self.options.segmenter.sam, self.options, self.format_names, _ONLY_SAM)
        if options.point_grid is not None:
            options = refuse(options, _OF_THE_GRID, "to --point-grid, whose points are clicked as they are")
        if options.tiles.tile is not None:
            options = refuse(
                options, ("crop_n_layers", "crop_overlap_ratio"), "to --tile, which has crops of its own"
            )
        if options.regions.roi is not None and "edges" in self.format_names:
            raise UsageError("--roi does not apply to edges: an edge map is of the whole image")
        object.__setattr__(self, "options", options)
        _ = self.regions  # read once: what is looked at is what the recipe says

    @property
    def checkpoints(self) -> dict[str, str]:
        """SAM's, or FastSAM's."""
        return {"sam": self.options.segmenter.sam}

    @property
    def computes_as_exported(self) -> bool:
        """FastSAM can have been exported."""
        return is_exported(self.options.segmenter.sam)

    @property
    def format_names(self) -> tuple[str, ...]:
        """Those asked for by name, and by switches."""
        options = self.options
        names = [("rle" if name == "masks" and options.convert_to_rle else name) for name in options.format]
        switched = {"rle": options.convert_to_rle, "edges": options.edges, "proposals": options.proposals}
        return tuple(dict.fromkeys([*names, *(name for name, on in switched.items() if on)]))

    def recipe(self) -> dict[str, Any]:
        """Return the recipe with the content of the grid's file, not its name."""
        recipe = {
            **super().recipe(),
            "format": list(self.format_names),
            **store_facts(self.options.store.embeddings),
        }
        for switch in ("convert_to_rle", "edges", "proposals"):  # they are among the formats
            del recipe[switch]
        if self.options.point_grid is not None:
            recipe["point_grid"] = sha256_of(_grid_file(self.options.point_grid))
        return recipe

    def load(self, plan: Plan, models: Models) -> Worker:
        """SAM and the grid, or FastSAM."""
        options, clock = self.options, StageClock()
        notes: Callable[[], list[str]] = list
        size_of: SizeOf = no_size
        annotator: Annotator
        if found := find_fastsam(plan, models, options, options.fastsam):
            fastsam, device = found
            annotator = FastSamAnnotator(
                fastsam, options.masks, clock, regions=self.regions, on_cpu=device.type == "cpu"
            )
        else:
            grids = read_grids(options.point_grid, options.masks.crop_n_layers) if options.point_grid else None
            engine = load_engine(plan, models, options)
            encoder = open_encoder(engine, options.store.embeddings, clock)
            notes = encoder.notes
            if not options.masks.crop_n_layers:  # crops are cut out of the pixels
                size_of = encoder.size_of
            look = Look(grids, open_tiling(options.tiles, engine.side), self.regions)
            annotator = GridAnnotator(
                engine, encoder, options.masks, look, clock, edges="edges" in self.format_names
            )
        beside = with_corrected(annotator, plan.layout, notes)
        return Worker(
            beside.annotator,
            plan.labels,
            self.formats,
            self.shapes,
            limits=options.input,
            clock=clock,
            notes=beside.notes,
            size_of=size_of,
        )


@dataclass(frozen=True)
class Look:
    """Regions in which objects are searched: see `mask_generator.Places`."""

    grids: Grids | None
    tiling: Tiling | None
    regions: Regions | None

    def places(self, image: Image, embedding: Embedding, encoder: Encoder) -> Places:
        """Return the places in an image whose own embedding is known.

        Raises:
            ImageError: its regions cannot be read, or lie outside of it.
        """
        return Places(
            self.grids,
            lambda _: [embedding],
            wanted=wanted_points(self.regions, image),
            tiling=self.tiling,
            encode_tile=encoder.encode_tile if self.tiling is not None else None,
        )


class GridAnnotator:
    """Everything mode for one image after the other."""

    names = {0: UNNAMED}  # noqa: RUF012 - never written to

    def __init__(
        self,
        engine: Engine,
        encoder: Encoder,
        options: MaskGeneratorOptions,
        look: Look,
        clock: StageClock,
        *,
        edges: bool,
    ) -> None:
        self._engine = engine
        self._encoder = encoder
        self._options = options
        self._look = look
        self._clock = clock
        self._edges = edges
        self.on_cpu = engine.device.type == "cpu"

    def annotate(self, images: Sequence[Image]) -> list[AnnotatedImage]:
        """Return the annotation of each image, and its edges if they are asked for."""
        embeddings = self._encoder.encode(images)
        return [self._find(image, embedding) for image, embedding in zip(images, embeddings, strict=True)]

    def _find(self, image: Image, embedding: Embedding) -> AnnotatedImage:
        places = self._look.places(image, embedding, self._encoder)
        with self._clock.measure("segment"):
            instances = everything(self._engine, image, self._options, places=places)
            edges = edge_map(self._engine, image, places.encode) if self._edges else None
        return AnnotatedImage(Annotation(image.ref.key, image.image_size, tuple(instances)), edges=edges)


class FastSamAnnotator:
    """All that FastSAM finds, images of one size together."""

    def __init__(
        self,
        fastsam: FastSam,
        options: MaskGeneratorOptions,
        clock: StageClock,
        *,
        regions: Regions | None = None,
        on_cpu: bool,
    ) -> None:
        self._fastsam = fastsam
        self._regions = regions
        self._options = options
        self._clock = clock
        self.on_cpu = on_cpu

    @property
    def names(self) -> Mapping[int, str]:
        """FastSAM's one class."""
        return self._fastsam.names

    def annotate(self, images: Sequence[Image]) -> list[AnnotatedImage]:
        """Return the annotation of each image, best objects first."""
        wanted = [wanted_points(self._regions, image) for image in images]
        with self._clock.measure("segment"):
            found = self._fastsam.find(images)
        found = [inside_of(one, where) if where else one for one, where in zip(found, wanted, strict=True)]
        return [
            AnnotatedImage(Annotation(image.ref.key, image.image_size, self._instances(detections)))
            for image, detections in zip(images, found, strict=True)
        ]

    def _instances(self, found: Detections) -> tuple[Instance, ...]:
        """Return the masks as instances: the box of a mask counts as its prompt, the score as its predicted IoU."""
        instances = []
        for mask, box, score in zip(
            self._tidied(found.masks or ()), found.boxes.tolist(), found.scores.tolist(), strict=True
        ):
            if mask.box is not None:
                quality = Quality(predicted_iou=score, box_iou=box_iou(mask.box, box))
                instances.append(Instance(mask, 0, quality, tuple(box)))
        return tuple(instances)

    def _tidied(self, masks: Sequence[Mask]) -> Sequence[Mask]:
        if self._options.min_mask_region_area:
            masks = [without_small_regions(mask, self._options.min_mask_region_area) for mask in masks]
        return exclusive(masks) if self._options.exclusive else masks


def read_grids(name: str, layers: int) -> Grids:
    """Points (N, 2) in 0..1 for the image and each layer of crops.

    `.npy`: (N, 2), or (L, N, 2) for L layers. `.json`: a list of [x, y], or a list of such lists. Else text:
    a line for each point, `x,y` or `x y`.

    Raises:
        UsageError: no such file, not such points, or not enough layers.
    """
    path = _grid_file(name)
    try:
        if path.suffix == ".npy":
            content = read_array(path)
        elif path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
        else:
            lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
            content = [[float(word) for word in line.split()] for line in lines if line.strip()]
        layered = len(content) > 0 and np.ndim(content[0][0]) == 1
        grids = [np.asarray(grid, np.float64) for grid in (content if layered else [content])]
    except (ValueError, TypeError, IndexError, KeyError, OSError) as error:
        raise UsageError(f"--point-grid {path}: {error}; expected points x,y between 0 and 1") from error
    for grid in grids:
        if grid.ndim != 2 or grid.shape[1] != 2 or not len(grid) or not ((grid >= 0) & (grid <= 1)).all():
            raise UsageError(f"--point-grid {path}: expected points x,y between 0 and 1, found {grid.shape}")
    if len(grids) <= layers:
        raise UsageError(
            f"--point-grid {path} has points for {len(grids)} layers; --crop-n-layers {layers} needs {layers + 1}"
        )
    return grids


def _grid_file(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise UsageError(f"--point-grid {name} does not exist; expected a .npy, .json or text file of points")
    return path
