"""The Python interface: whole jobs, detectors and the labels of a run, with plain arguments.

>>> import samcli
>>> summary = samcli.auto_annotate("photos", det="yolov8x.pt", sam="sam_b.pt")  # doctest: +SKIP
>>> annotations = samcli.load_annotations(summary.output)                       # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from samcli.errors import SamcliError, UsageError
from samcli.types import Annotation, Detections, Image

if TYPE_CHECKING:
    from samcli.detectors.base import Detector
    from samcli.jobs.summary import Summary

StrPath = str | os.PathLike[str]


def auto_annotate(
    data: StrPath | Sequence[StrPath],
    *,
    det: str = "yolov8x.pt",
    sam: str = "sam_b.pt",
    output: StrPath | None = None,
    **options: Any,
) -> Summary:
    """Label images as `samcli auto-annotate` does: boxes of a detector prompt SAM, the masks become labels.

    `data`: an image, a folder or several. `det`, `sam`: names or paths of checkpoints. `output`: the folder for
    the labels; None: beside the input. `options`: those of the command with underscores, e.g. `conf=0.4`,
    `format=("yolo", "coco")`. A run that was interrupted resumes.

    Returns the summary: `output`, `done`, `skipped`, `failures` (image to reason), `instances` by class id.

    Raises:
        UsageError: an option or the input makes no sense.
        WeightsError: a checkpoint cannot be loaded.
        TypeError: there is no such option.
    """
    from samcli.config import AutoAnnotateOptions
    from samcli.jobs.auto_annotate import AutoAnnotate
    from samcli.jobs.inputs import open_inputs
    from samcli.jobs.run import run_job

    given = [data] if isinstance(data, (str, os.PathLike)) else list(data)
    job = AutoAnnotate(AutoAnnotateOptions.of(det=det, sam=sam, **options))
    inputs = open_inputs([os.fspath(path) for path in given])
    return run_job(job, inputs, None if output is None else os.fspath(output))


class LoadedDetector:
    """A detector. `names`: class id to class name."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.names: dict[int, str] = detector.names

    @overload
    def detect(self, images: Image) -> Detections: ...
    @overload
    def detect(self, images: Sequence[Image]) -> list[Detections]: ...
    def detect(self, images: Image | Sequence[Image]) -> Detections | list[Detections]:
        """Return the detections of one image, or of each of several, the best score first.

        Boxes are (N, 4) float32 xyxy in pixels of the upright image, class ids (N,), scores (N,) from 0 to 1.
        """
        if isinstance(images, Image):
            return self._detector.detect([images])[0]
        return self._detector.detect(images)


def load_detector(name: StrPath, **settings: Any) -> LoadedDetector:
    """Load a detector from a known name, a file, or a folder that the transformers library saved a model in.

    `settings`: fields of `DetectorSettings`, e.g. `conf=0.4`, `iou=0.45`, `classes="person,bus"`, `device="cpu"`.

    Raises:
        WeightsError: the file is missing, refused, damaged, or no detector.
        UsageError: a class is unknown to the detector, or the device is not available.
    """
    from samcli.detectors.loading import load_detector as load

    return LoadedDetector(load(os.fspath(name), **settings))


def load_annotations(run: StrPath) -> dict[str, Annotation]:
    """Return the annotations of a run by image key, the path below the input folder.

    `run`: the output folder of a run, or the folder of a data set that contains one.

    Raises:
        UsageError: there is no run, or it has no labels.
        SamcliError: a record cannot be read; it is named.
    """
    from samcli.output.manifest import Product
    from samcli.output.run_folder import RunFolder

    failures: dict[str, str] = {}
    found = {one.key: one for one in RunFolder.open(Path(run), Product.LABELS).annotations(failures)}
    for key, reason in failures.items():
        raise SamcliError(f"{key}: {reason}")
    return found


def save_annotation(
    annotation: Annotation, path: StrPath, format: str = "yolo", names: Mapping[int, str] | None = None
) -> None:
    """Write one image's labels to a file. `format`: one that has a file per image, e.g. `yolo`, `labelme`, `voc`.

    `names`: class id to class name; None: ids stand for names. An existing file is replaced.

    Raises:
        UsageError: no such format, or one whose files are not one per image or need more than the annotation.
    """
    from samcli.files import write_atomic
    from samcli.labels.formats import FORMATS, Rendering, check_formats

    check_formats([format])
    fmt = FORMATS[format]
    if len(fmt.suffixes) != 1 or fmt.needs:
        single = ", ".join(name for name, one in FORMATS.items() if len(one.suffixes) == 1 and not one.needs)
        raise UsageError(f"the format {format} is not one file per image; expected one of {single}")
    ids = {one.class_id for one in annotation.instances}
    known = dict(names) if names is not None else {one: str(one) for one in sorted(ids)}
    (files,) = fmt.render_all(Rendering(annotation, known))
    if not isinstance(files, bytes):
        raise UsageError(f"the format {format} is a folder per image; give one with a single file")
    write_atomic(Path(path), files)


def load_class_names(run: StrPath) -> dict[int, str]:
    """Return the class names of a run by class id.

    Raises:
        UsageError: there is no run.
    """
    from samcli.output.run_folder import RunFolder

    return dict(RunFolder.open(Path(run)).manifest.names)
