"""Verify a folder of YOLO labels: what a trainer would reject or stumble over, before GPU time is spent.

Label files are looked at one at a time, folder by folder: memory depends on the largest folder, not on the
data set.
"""

from __future__ import annotations

import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from samcli.config import VerifyOptions
from samcli.datasets.data_yaml import DataYaml, read_data_yaml
from samcli.datasets.trainer_images import LEAST_SIDE, judge_image
from samcli.datasets.trainer_rows import ROW_KINDS, Judgement, Problem, RowKind, Shape, judge, mend
from samcli.datasets.training_size import vanishing_rows
from samcli.errors import ImageError, UsageError, nearest, one_line
from samcli.files import write_atomic
from samcli.images import PREVIEW, SUFFIXES, probe_image
from samcli.labels.class_names import DATA_YAML, SPLIT_FOLDERS, find_names_file, names_beside
from samcli.labels.formats import FORMATS
from samcli.labels.formats.base import recorded_polygon_options
from samcli.labels.formats.reading import not_yolo
from samcli.output.layout import RUN_FOLDER, Layout, images_of, stem_of
from samcli.output.locks import locked
from samcli.output.manifest import Product
from samcli.output.own_files import read_own
from samcli.output.placing import LabelJournal
from samcli.output.records import LARGEST, Figures, read_figures
from samcli.output.run_folder import RunFolder
from samcli.types import ImageRef

BACKUP_FOLDER = ".samcli-backup"
"""In the labels' folder: the files as they were before `--fix`, each time in a folder of its own."""

_EXAMPLES = 3
"""Files that are named for each kind."""

_NOT_LABELS = frozenset(
    {
        *(file for fmt in FORMATS.values() for file in fmt.own_files),
        *(f"{split}.txt" for split in SPLIT_FOLDERS),
    }
)
"""Lists of classes, of images and the like: these are labels only where an image has that name."""

_MOST_PIXELS = 1 << 40
"""Of an image whose size is read: its pixels are not."""

_LIST_BYTES = 10_000
"""Of a text file that are looked at to tell a list of images from labels."""

_TRAINER_SUFFIXES = frozenset(
    {*SUFFIXES, ".dng", ".mpo"} - {".gif", ".j2k"}  # a label for such an image has its image
)

KINDS = {
    "data-yaml": RowKind("error", "data.yaml lacks what a trainer needs"),
    "path-missing": RowKind("error", "a folder that data.yaml names does not exist"),
    "no-labels": RowKind("error", "no image has a label file"),
    "image-damaged": RowKind("error", "an image that cannot be decoded: a trainer skips it, or stops"),
    "image-too-small": RowKind("error", f"an image with a side below {LEAST_SIDE} pixels: a trainer skips it"),
    "image-format": RowKind(
        "error", "an image in a format that a trainer does not read, whatever its file extension"
    ),
    **ROW_KINDS,
    "mixed-data": RowKind(
        "error", "some files hold boxes and others polygons: segmentation training refuses the data set"
    ),
    "no-objects": RowKind("warning", "all label files are empty"),
    "shared-label": RowKind("warning", "two images with the same name share a label file"),
    "label-without-image": RowKind("warning", "a label file without an image: a trainer ignores it"),
    "image-without-label": RowKind("warning", "no label file: a trainer uses the image as background"),
    "image-incomplete": RowKind(
        "warning",
        "an image with unlabelled objects: its label file is kept aside, and samcli dataset leaves it out",
    ),
    "image-excluded": RowKind("warning", "an image that was excluded in a review: samcli dataset leaves it out"),
    "image-rewritten": RowKind(
        "warning", "a JPEG file with bytes after the end of the image: a trainer rewrites the file"
    ),
    "box-far-larger": RowKind("warning", "mask area / prompt box area is below --min-fill"),
    "low-polygon-iou": RowKind("warning", "the IoU of a polygon and its mask is below --min-polygon-iou"),
    "object-vanishes": RowKind("warning", "an object that is lost at the training size (--imgsz)"),
}
"""Every kind of finding, the worst first."""

_IMAGE_KINDS = frozenset({"image-damaged", "image-too-small", "image-format", "image-rewritten"})
"""Images are opened unless all of these are ignored."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: where (a path below the labels' or the images' folder), and what."""

    kind: str
    file: str
    line: int | None
    detail: str

    @property
    def severity(self) -> str:
        return KINDS[self.kind].severity


@dataclass
class Tally:
    """Number of findings of a kind, number of files with them, and the first files."""

    count: int = 0
    files: int = 0
    examples: list[str] = field(default_factory=list)
    _last: str | None = None

    def add(self, file: str, detail: str = "") -> None:
        """Count one more; findings of one file come together."""
        self.count += 1
        if file != self._last:
            self.files, self._last = self.files + 1, file
            if len(self.examples) < _EXAMPLES:
                self.examples.append(f"{file}: {detail}" if detail else file)


@dataclass
class Verification:
    """Findings in a folder of labels."""

    labels: Path
    images: Path | None
    data: Path | None
    files: int = 0
    rows: int = 0
    rows_taken: int = 0
    """Rows that a trainer takes, each as one object: of files that it does not reject, repeated ones once."""
    objects: int = 0
    """Objects of these files: as many as rows, unless the run that wrote them says otherwise."""
    image_count: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)
    fixed: Counter[str] = field(default_factory=Counter)
    """Repaired rows, by kind."""
    fixed_files: int = 0
    backup: Path | None = None
    notes: list[str] = field(default_factory=list)
    strict: bool = False
    """Warnings count as errors for the exit status."""

    @property
    def exit_status(self) -> int:
        """Return 3 if there are errors, or, with `strict`, warnings; else 0."""
        counted = {"error", "warning"} if self.strict else {"error"}
        return 3 if any(KINDS[kind].severity in counted for kind in self.tallies) else 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        kinds = [kind for kind in KINDS if kind in self.tallies]
        return {
            "labels": str(self.labels),
            "images": str(self.images) if self.images else None,
            "data": str(self.data) if self.data else None,
            "label_files": self.files,
            "rows": self.rows,
            "rows_taken": self.rows_taken,
            "objects": self.objects,
            "image_files": self.image_count if self.images else None,
            "errors": sum(self.tallies[kind].count for kind in kinds if KINDS[kind].severity == "error"),
            "warnings": sum(self.tallies[kind].count for kind in kinds if KINDS[kind].severity == "warning"),
            "findings": {
                kind: {
                    **asdict(KINDS[kind]),
                    "count": self.tallies[kind].count,
                    "files": self.tallies[kind].files,
                    "examples": self.tallies[kind].examples,
                }
                for kind in kinds
            },
            "fixed": dict(self.fixed),
            "fixed_files": self.fixed_files,
            "backup": str(self.backup) if self.backup else None,
            "notes": self.notes,
        }


Watch = Callable[[Finding], None]


def verify_labels(
    labels: Path,
    options: VerifyOptions,
    *,
    images: Path | None = None,
    data: Path | None = None,
    fix: bool = False,
    watch: Watch = lambda finding: None,
) -> Verification:
    """Verify the label files in a folder, and with `fix` repair what is safe to repair.

    `labels`: the folder of label files, or a data set's with `labels` in it. `images`: the folder that mirrors
    it; None: the one where a trainer or the run that wrote the labels has them. `data`: the data.yaml; None:
    the one in the labels' folder or above it. `watch` is told each finding.

    Raises:
        UsageError: there is no such folder, or data.yaml cannot be read.
    """
    for kind in options.ignore:
        if kind not in KINDS:
            raise UsageError(f"--ignore {kind}: expected one of {', '.join(KINDS)}.{nearest(kind, KINDS)}")
    labels = _labels_folder(labels)
    if images is not None and not images.is_dir():
        raise UsageError(f"--images {images} is not a folder")
    data = data or find_names_file(labels, (DATA_YAML,))
    names = names_beside(labels, remarks=Counter()) if data is None else {}
    images = Path(os.path.abspath(images)) if images else _images_of(labels)  # noqa: PTH100
    result = Verification(labels, images, data, strict=options.strict)
    verifier = _Verifier(result, read_data_yaml(data) if data else None, options, fix=fix, watch=watch)
    if names:
        verifier.class_count = max(names) + 1
        result.notes.append(f"class ids were checked against {find_names_file(labels)}")
    layout = Layout(labels, labels)
    with locked(layout, "Make it writable") if fix and layout.run_folder.is_dir() else nullcontext():
        verifier.run()
    return result


def _labels_folder(labels: Path) -> Path:
    if problem := not_yolo(labels):
        raise UsageError(problem)
    labels = Path(os.path.abspath(labels))  # noqa: PTH100 - resolve() would follow links
    inner = labels / "labels"
    return inner if inner.is_dir() and not (labels / RUN_FOLDER).is_dir() else labels


def _images_of(labels: Path) -> Path | None:
    """Return the image folder of these labels: as a trainer finds it, or as their run recorded it."""
    if (run := RunFolder.find(labels)) is not None:
        run.check(Product.LABELS)
        return root if (root := run.layout.input_root).is_dir() else None
    if (images := images_of(labels)) is not None:
        return images if images.is_dir() else None
    return labels if any(folder.images for folder in _walk(labels, labels)) else None


def _is_image(name: str) -> bool:
    return name != PREVIEW and os.path.splitext(name)[1].lower() in _TRAINER_SUFFIXES  # noqa: PTH122


@dataclass(frozen=True)
class _Folder:
    """The files in one folder of the two trees."""

    path: str
    """Of the label files, below their root, with a slash at the end, or empty."""
    image_path: str
    """Of the images, below their root."""
    labels: list[str]
    images: list[str]


class _Verifier:
    def __init__(
        self, result: Verification, data: DataYaml | None, options: VerifyOptions, *, fix: bool, watch: Watch
    ) -> None:
        self.result = result
        self.data = data
        self.options = options
        self.fix = fix
        self.watch = watch
        self.class_count = len(data.names) if data and data.names else None
        self.shapes: dict[str, Tally] = {"boxes": Tally(), "polygons": Tally()}
        self.with_label = 0
        journal = LabelJournal.of(result.labels)
        self.run_found = journal.run
        self.withheld = journal.withheld()
        self.row_counts = {journal.label_of(key): count for key, count in journal.row_counts().items()}
        self.ignores_images = set(options.ignore) >= _IMAGE_KINDS

    def run(self) -> None:
        result = self.result
        if result.images is None:
            result.notes.append("images not found: whether images and labels match was not checked (give --images)")
            if self.options.imgsz is not None:
                result.notes.append("images not found: --imgsz needs their sizes")
        if self.data is None and self.class_count is None:
            result.notes.append("no data.yaml found: class ids were not checked")
        elif self.data is not None:
            result.notes += self.data.notes
        self._data_yaml()
        for folder in _walk(result.labels, result.images):
            self._folder(folder)
        self._whole()
        self._records()

    def _find(self, kind: str, file: str, line: int | None = None, detail: str = "") -> None:
        if kind in self.options.ignore:
            return
        self.result.tallies.setdefault(kind, Tally()).add(
            file, "" if line else detail
        )  # of a row it would be no use
        self.watch(Finding(kind, file, line, detail))

    def _data_yaml(self) -> None:
        if self.data is None:
            return
        name = str(self.data.path)
        problems = self.data.problems
        if self.run_found and self.data.path.parent == self.run_found.output and self.data.is_names_only:
            # The run wrote it so: a trainer would not find labels that are not beside their images.
            problems = tuple(problem for problem in problems if problem not in self.data.absent)
            self.result.notes.append(
                "data.yaml has class names only, as the labels are not beside the images: `samcli dataset` builds "
                "a data set for training"
            )
        for problem in problems:
            self._find("data-yaml", name, detail=problem)
        for split, place in self.data.missing.items():
            self._find("path-missing", name, detail=f"{split}: {place}")

    def _folder(self, folder: _Folder) -> None:
        images = _by_stem(folder.images)
        stems = {stem_of(name) for name in folder.labels}
        self.result.image_count += len(folder.images)
        sound = {stem_of(name) for name in folder.images if self._image(folder.image_path + name)}
        for name in folder.labels:
            if self.result.images is not None and stem_of(name) not in images:
                if not _lists_images(self.result.labels / folder.path / name):
                    self._find("label-without-image", folder.path + name)
            elif stem_of(name) in images or not _lists_images(self.result.labels / folder.path / name):
                self.with_label += 1
                image = next((folder.image_path + one for one in images.get(stem_of(name), ())), None)
                self._file(folder.path + name, image, counted=stem_of(name) in sound or not images)
        for stem, names in images.items():
            if stem not in stems:
                for name in names:
                    self._without_label(folder.image_path + name)
            elif len(names) > 1:
                self._find("shared-label", folder.path + stem + ".txt", detail=" and ".join(names))

    def _without_label(self, key: str) -> None:
        image = self.withheld.get(key)
        self._find(f"image-{image.why.value}" if image else "image-without-label", key)

    def _image(self, key: str) -> bool:
        """Return whether a trainer takes an image; what is wrong with it is told."""
        if self.result.images is None or self.ignores_images:
            return True
        problem = judge_image(self.result.images / key)
        if problem is not None:
            self._find(problem.kind, key, None, problem.detail)
        return problem is None or not problem.is_error

    def _file(self, key: str, image: str | None, *, counted: bool) -> None:
        """Judge a label file of an image; `counted`: a trainer takes the image."""
        path = self.result.labels / key
        self.result.files += 1
        try:
            data = path.read_bytes()
        except OSError as error:
            problem = Problem("unreadable", None, error.strerror or one_line(error))
            self._judged(key, Judgement((problem,), 0, None), counted=counted)
            return
        if self.fix:
            data = self._mended(key, data)
        judgement = judge(data, self.class_count, self.options.min_area)
        self._judged(key, judgement, counted=counted)
        if self.options.imgsz is not None and image is not None and judgement.shape and not judgement.rejected:
            self._at_training_size(key, image, data, judgement.shape)

    def _at_training_size(self, key: str, image: str, data: bytes, shape: Shape) -> None:
        """Find the rows that a trainer does not see at its training size."""
        assert self.options.imgsz is not None and self.result.images is not None
        try:
            probe = probe_image(ImageRef(self.result.images, image), _MOST_PIXELS)
        except ImageError:  # told by what looks at images, unless that is ignored
            return
        for line, detail in vanishing_rows(data, shape, probe.image_size, self.options.imgsz):
            self._find("object-vanishes", key, line, detail)

    def _mended(self, key: str, data: bytes) -> bytes:
        """Copy the file to the backup folder, repair it, and return its new content."""
        better, done = mend(data)
        if not done:
            return data
        if self.result.backup is None:
            self.result.backup = _new_backup(self.result.labels)
        write_atomic(self.result.backup / key, data)
        write_atomic(Path(os.path.realpath(self.result.labels / key)), better)  # a link stays a link
        self.result.fixed.update(done)
        self.result.fixed_files += 1
        return better

    def _judged(self, key: str, judgement: Judgement, *, counted: bool) -> None:
        self.result.rows += judgement.rows
        if judgement.shape and not judgement.rejected and counted:
            repeated = sum(problem.kind == "duplicate-row" for problem in judgement.problems)
            taken = judgement.rows - repeated
            written = self.row_counts.get(key)
            self.result.rows_taken += taken
            # Where somebody has changed the rows since, what the run knows of them is no longer so.
            known = written is not None and written.rows == taken
            self.result.objects += sum(written.objects.values()) if written and known else taken
            self.shapes[judgement.shape].add(key)
        for problem in judgement.problems:
            self._find(problem.kind, key, problem.line, problem.detail)

    def _whole(self) -> None:
        """Report findings that need all files to have been read."""
        if not self.with_label:
            self._find("no-labels", str(self.result.labels))
        elif not self.result.rows and not {"unreadable"} & set(self.result.tallies):
            self._find("no-objects", str(self.result.labels))
        fewer, more = sorted(self.shapes.items(), key=lambda item: item[1].files)
        if fewer[1].files:
            detail = f"{fewer[0]} here and in {fewer[1].files - 1} more, {more[0]} in {more[1].files} files"
            self._find("mixed-data", fewer[1].examples[0], detail=detail)

    def _records(self) -> None:
        """Report what the records show: masks that fill little of their box, or differ from their polygons."""
        root = self.result.labels / RUN_FOLDER / "records"
        if not root.is_dir():
            return
        recipe = self.run_found.manifest.recipe.values if self.run_found else {}
        least = recorded_polygon_options(recipe).min_iou if "min_polygon_iou" in recipe else 0.0
        for folder in _walk(root, None, suffix=".json"):
            for name in folder.labels:
                key = folder.path + name
                try:
                    found = read_figures(read_own(root / key, LARGEST))
                except (OSError, ValueError) as error:
                    self.result.notes.append(f"record {key} cannot be read: {one_line(error)}")
                    continue
                for number, figures in enumerate(found, 1):
                    self._figures(stem_of(key), f"object {number}", figures, least)

    def _figures(self, image: str, which: str, figures: Figures, least: float) -> None:
        """Judge the figures of an object; `least`: the least polygon IoU that the run allows."""
        box, area, polygon_iou = figures
        if box and area < self.options.min_fill * (whole := (box[2] - box[0]) * (box[3] - box[1])):
            self._find("box-far-larger", image, None, f"{which}: {area} pixels, {area / whole:.1%} of its box")
        if polygon_iou is not None and polygon_iou < least:
            self._find("low-polygon-iou", image, None, f"{which}: polygon IoU {polygon_iou:.3f}, below {least:g}")


def _new_backup(labels: Path) -> Path:
    """Return a folder that is not there yet, named after the time."""
    name = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        folder = labels / BACKUP_FOLDER / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            return folder
    raise UsageError(f"too many backups in {labels / BACKUP_FOLDER}; remove some")


def _by_stem(names: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(stem_of(name), []).append(name)
    return found


def _walk(labels: Path, images: Path | None, suffix: str = ".txt") -> Iterator[_Folder]:
    """Yield the folders of the two trees side by side, in order, each real folder once.

    Where both are one tree, a trainer's rule holds within it: what is in `images` has its labels in `labels`.
    """
    pending = [""]
    seen: set[tuple[int, int]] = set()
    while pending:
        path = pending.pop()
        image_path = _exchanged(path, "labels", "images") if images == labels else path
        label_files, label_folders = _listed(labels / path, seen)
        image_files, image_folders = label_files, label_folders
        if images is None:
            image_files, image_folders = [], set()
        elif images != labels or image_path != path:
            image_files, image_folders = _listed(images / image_path, seen)
        photos = [name for name in image_files if _is_image(name)]
        lists = {name for name in label_files if path + name in _NOT_LABELS}
        if lists:
            lists -= {stem_of(name) + suffix for name in photos}
        texts = [name for name in label_files if name.endswith(suffix) and name not in lists]
        yield _Folder(path, image_path, texts, photos)
        inner = {f"{path}{name}/" for name in label_folders | image_folders}
        if images == labels:
            inner = {_exchanged(folder, "images", "labels") for folder in inner}
        pending += sorted(inner, reverse=True)


def _exchanged(path: str, old: str, new: str) -> str:
    """Return a path below a root, with the last folder of one name exchanged for that of another."""
    parts = path.split("/")
    if old not in parts:
        return path
    parts[len(parts) - 1 - parts[::-1].index(old)] = new
    return "/".join(parts)


def _lists_images(file: Path) -> bool:
    """Return whether a text file is a list of images, as some exports have one.

    Each line of its beginning is one.
    """
    try:
        with file.open("rb") as opened:
            lines = opened.read(_LIST_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return False
    named = [line.strip() for line in lines[:10] if line.strip()]
    return bool(named) and all(_is_image(name) for name in named)


def _listed(folder: Path, seen: set[tuple[int, int]]) -> tuple[list[str], set[str]]:
    """Names of files, sorted, and of folders; nothing of a folder that is not there or was seen before."""
    files: list[str] = []
    folders: set[str] = set()
    try:
        own = folder.stat()
        if (own.st_dev, own.st_ino) in seen or not stat.S_ISDIR(own.st_mode):
            return files, folders
        seen.add((own.st_dev, own.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.add(entry.name)
                else:
                    files.append(entry.name)
    except FileNotFoundError:
        return files, folders
    except OSError as error:
        raise UsageError(f"cannot read the folder {folder}: {error.strerror}") from error
    return sorted(files), folders
