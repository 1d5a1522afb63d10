"""A job: what the commands that work through a folder of images differ in, as far as planning goes.

`auto-annotate`, `prompt`, `everything` and `encode` are jobs; how a job is planned, run, resumed and summed up
is the same for all of them (`plan`, `run`).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from samcli.checkpoints.registry import WeightsFile
from samcli.config import ExistingOptions, JobOptions, LabelOptions
from samcli.labels.formats import FORMATS, LabelFormat
from samcli.labels.formats.base import polygon_options
from samcli.output.manifest import Product
from samcli.polygons import POLYGONS_VERSION, PolygonOptions

if TYPE_CHECKING:
    from samcli.jobs.plan import Plan
    from samcli.jobs.worker import BaseWorker

R = TypeVar("R")

Models = Mapping[str, WeightsFile]
"""The checkpoints of a job by role (`det`, `sam`), found and verified."""


_IDLE = {
    "agnostic_nms": False,
    "cross_class_iou": 1.0,
    "min_part_area": "0",
    "max_points": LabelOptions.max_points,
    "tile": None,
    "roi": None,
}
"""Options that there were not always, with the values at which labels are as they were without them."""


def without_idle(recipe: Mapping[str, Any], idle: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe without the options that have these values: runs begun before there were these go on."""
    return {name: value for name, value in recipe.items() if name not in idle or value != idle[name]}


class Job(ABC, Generic[R]):
    """One command's work on a folder of images. `R`: what its networks make of an image, to be written."""

    command: ClassVar[str]
    """Its name on the command line."""

    product: ClassVar[Product] = Product.LABELS
    """What it makes."""

    folder: ClassVar[str] = "labels"
    """Name of the output folder where none is given."""

    provides: ClassVar[frozenset[str]] = frozenset({"pixels"})
    """What its formats may need beside the annotation (see `Rendering`)."""

    options: JobOptions

    @property
    @abstractmethod
    def checkpoints(self) -> dict[str, str]:
        """Names of the checkpoints that it needs, by role; the role is also the option that names it."""

    @property
    def computes_as_exported(self) -> bool:
        """Return whether its networks are programs made for one kind of arithmetic.

        `--precision` changes nothing.
        """
        return False

    @property
    def remedy(self) -> str:
        """Return what the user can do about failed images."""
        return "Fix the files and rerun with --retry-failed to try them again."

    @property
    def format_names(self) -> tuple[str, ...]:
        """Names of the formats that it writes."""
        return tuple(getattr(self.options, "format", ()))

    @property
    def formats(self) -> list[LabelFormat]:
        """Return the formats that it writes."""
        return [FORMATS[name] for name in self.format_names]

    @property
    def beside(self) -> ExistingOptions | None:
        """Return the treatment of label files that existed before the run; None: the job refuses them."""
        return getattr(self.options, "found", None)

    @property
    def existing(self) -> str:
        """Return the same in a word: `refuse`, `keep` or `add`."""
        return self.beside.existing if self.beside else "refuse"

    @property
    def suffixes(self) -> list[str]:
        """Return the suffixes of the files of each image."""
        return [suffix for fmt in self.formats for suffix in fmt.suffixes]

    @property
    def shapes(self) -> PolygonOptions:
        """Return the options that turn its masks into labels."""
        labels, specks = (getattr(self.options, name, None) for name in ("labels", "specks"))
        return polygon_options(labels or LabelOptions(), specks)

    def recipe(self) -> dict[str, Any]:
        """Every option that changes what is written, but for models and precision, as plain values by name."""
        recipe = without_idle({"command": self.command, **self.options.recipe()}, _IDLE)
        if "tile" not in recipe:
            recipe.pop("tile_overlap", None)
        if self.existing != "add":  # which images are labelled is no matter of the recipe
            recipe = {name: value for name, value in recipe.items() if name not in ("existing", "existing_iou")}
        if any(fmt.has_rings for fmt in self.formats):
            recipe["polygons"] = POLYGONS_VERSION
        return recipe

    def digest(self, key: str) -> str:
        """Return a short hash of what else the result for this image depends on, such as its own prompts."""
        return ""

    def matched(self, keys: Sequence[str]) -> Job[R]:
        """Return the job held against the images that were found: a job of the same recipe.

        Raises:
            UsageError: something does not fit these images.
        """
        return self

    def of_one_image(self) -> Job[R]:
        """Return the job for an input that is a single image."""
        return self

    def on_device(self, device: str) -> Job[R]:
        """Return the job for one of the devices that its options name."""
        job = copy.copy(self)
        object.__setattr__(job, "options", cast(Any, self.options).with_values(device=device))  # jobs may be frozen
        return job

    def asked(self) -> Collection[str] | None:
        """Return the keys of the found images that the matched job is about; None: all."""
        return None

    def lost(self) -> Mapping[str, str]:
        """Return the images that the job is asked about and that are not in the input, by their names, and why."""
        return {}

    @abstractmethod
    def load(self, plan: Plan, models: Models) -> BaseWorker[R]:
        """Return the worker, with its networks loaded.

        Raises:
            WeightsError: a checkpoint is refused, damaged, or not what it should be.
            UsageError: an option does not fit the networks.
        """

    def notes(self, output: Path) -> list[str]:
        """Return the notes shown at the end."""
        if "tiny" in self.checkpoints.values():
            return [
                "The tiny models know eight kinds of synthetic shape: for trying out and testing, not for photos."
            ]
        return []
