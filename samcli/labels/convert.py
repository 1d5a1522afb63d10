"""Convert labels between formats, an image at a time: from a run's records, or from any format that is read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from samcli.config import ConvertOptions
from samcli.errors import ImageError, UsageError, counted, one_line
from samcli.files import check_writable, write_atomic, write_atomic_pieces, write_files
from samcli.images import read_image
from samcli.labels.class_map import MappedClasses, read_class_map
from samcli.labels.class_names import complete
from samcli.labels.formats import FORMATS, LabelFormat, Rendering, check_formats
from samcli.labels.formats.base import polygon_options, recorded_part_limit
from samcli.labels.formats.losses import describe, losses
from samcli.labels.formats.reading import FILLED, Labels, detect_format, read_labels
from samcli.labels.formats.sources import Failure, LabelSet, Source, find_image_folder
from samcli.labels.objects import LabelEntry, ReadImage
from samcli.output.layout import Layout, stem_of
from samcli.output.manifest import Product
from samcli.output.run_folder import RunFolder
from samcli.polygons import PolygonOptions
from samcli.types import Annotation, Withheld

T = TypeVar("T")
Watch = Callable[[int], None]


@dataclass
class Conversion:
    """Result of a conversion."""

    output: Path
    source_format: str
    formats: tuple[str, ...]
    images: int = 0
    instances: int = 0
    rows: int | None = None
    """Of YOLO labels: more than instances where parts have rows of their own, fewer where instances are alike."""
    failures: dict[str, str] = field(default_factory=dict)
    """Key to reason."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Images without any object of a kind that is read, and why; nothing is wrong, and no label is written."""
    incomplete: dict[str, int] = field(default_factory=dict)
    """Key of an image that was written -> how many of its objects were left out."""
    withheld: dict[str, str] = field(default_factory=dict)
    """Images that are not written as they are incomplete or excluded; key to which of the two."""
    notes: list[str] = field(default_factory=list)
    """What a format cannot hold, and what else a user should know of."""
    files: int = 0
    """Label files (or folders of them) of single images, and for all images."""
    dry_run: bool = False
    """Nothing was written."""
    unseen: bool = False
    """No folder of images is known: names and sizes are as the labels state them."""

    @property
    def exit_status(self) -> int:
        """0 all converted; 3 some images failed."""
        return 3 if self.failures else 0


def convert(
    path: Path,
    output: Path | None,
    options: ConvertOptions,
    watch: Watch = lambda count: None,
    *,
    dry_run: bool = False,
) -> Conversion:
    """Write the labels at `path` in other formats; `watch` is told how many images are done.

    `dry_run`: convert everything and write nothing.

    Raises:
        UsageError: nothing that can be read, nothing said to write, or files are in the way.
    """
    formats = _targets(options)
    class_map = read_class_map(Path(name).expanduser()) if (name := options.class_mapping.class_map) else None
    path = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - resolve() would follow links
    run = _find_run(path, options)
    name = "records" if run else options.source_format or detect_format(path)
    output = Path(os.path.abspath(output or path.with_name(f"{path.stem}-{'-'.join(formats)}")))  # noqa: PTH100
    _check_output(output, options)
    conversion = Conversion(output, name, tuple(formats), dry_run=dry_run)
    shapes = _polygon_options(options, run)
    for format_name, fmt in formats.items():
        images = _image_folder(path, options, run, name)
        source = Source(path, images, options.input.max_pixels, options.reading.rescale, options.reading.crowds)
        labels = Labels(_read_run(source, run), source) if run else read_labels(name, source)
        classes = class_map.apply(_known_classes(labels)) if class_map else None
        names = classes.names if classes else labels.names
        annotations = _with_new_classes(labels.annotations, classes) if classes else labels.annotations
        if run or options.incomplete:
            annotations = _complete(annotations, conversion.withheld, keep=options.incomplete == "keep")
        fingerprint = run.manifest.fingerprint if run else ""
        writer = _Writer(
            fmt, options, source, names, output, watch, shapes=shapes, fingerprint=fingerprint, dry_run=dry_run
        )
        writer.write(annotations)
        conversion.files += writer.files
        conversion.images, conversion.instances = writer.images, writer.instances
        conversion.rows = writer.rows if writer.rows is not None else conversion.rows
        conversion.failures.update(writer.failures)
        conversion.left_out.update(writer.left_out)
        conversion.incomplete = {key: n for key, n in labels.omitted.images.items() if key in writer.written}
        if "masks" in fmt.loses:
            source.remarks.pop(FILLED, None)
        remarks = [f"{count} {what}" for what, count in source.remarks.items()] + labels.omitted.lines()
        conversion.notes += [remark for remark in remarks if remark not in conversion.notes]
        conversion.notes += describe(
            format_name, writer.lost, writer.first_lost, min_polygon_iou=options.labels.min_polygon_iou
        )
    conversion.unseen = run is None and source.images is None
    conversion.notes += _withheld_lines(conversion.withheld)
    return conversion


def _known_classes(labels: Labels) -> Mapping[int, str]:
    """Return the classes that a class map can name; ids stand for names if the labels have none."""
    return labels.names or {class_id: str(class_id) for class_id in sorted(labels.class_ids())}


def _complete(
    annotations: Iterable[Annotation | Failure], withheld: dict[str, str], *, keep: bool
) -> Iterator[Annotation | Failure]:
    """Without the images that trainers do not get, which `withheld` takes; `keep`: incomplete ones stay."""
    for item in annotations:
        why = None if isinstance(item, Failure) else item.withheld
        if why is None or (keep and why is Withheld.INCOMPLETE):
            yield item
        else:
            withheld[item.key] = why.value


def _withheld_lines(withheld: Mapping[str, str]) -> Iterator[str]:
    for why, remedy in ((Withheld.INCOMPLETE, " (--incomplete keep writes them)"), (Withheld.EXCLUDED, "")):
        if keys := [key for key, reason in withheld.items() if reason == why.value]:
            yield f"{counted(len(keys), f'{why.value} image')} left out{remedy} (first: {keys[0]})"


def _polygon_options(options: ConvertOptions, run: RunFolder | None) -> PolygonOptions:
    """Return the options of polygons; for a run's masks, with the specks that its own labels leave out."""
    shapes = polygon_options(options.labels)
    if run is None:
        return shapes
    return replace(shapes, part_limit=recorded_part_limit(run.manifest.recipe.values))


def _find_run(path: Path, options: ConvertOptions) -> RunFolder | None:
    """Return the run in a folder, unless the options name another format of the labels.

    Raises:
        UsageError: there is none though its records are asked for, or it makes no labels.
    """
    if options.source_format == "records":
        return RunFolder.open(path, Product.LABELS)
    run = RunFolder.find(path) if options.source_format is None and path.is_dir() else None
    if run is not None:
        run.check(Product.LABELS)
    return run


def _targets(options: ConvertOptions) -> dict[str, LabelFormat]:
    if not options.format:
        raise UsageError("no --to: give the format to write, e.g. samcli convert labels/ --to coco")
    check_formats(options.format)
    formats = {name: FORMATS[name] for name in options.format}
    for name, fmt in formats.items():
        if fmt.needs - {"pixels"}:
            raise UsageError(
                f"--to {name} is not possible: labels do not hold these data. Run with --format {name} instead"
            )
    return formats


def _check_output(output: Path, options: ConvertOptions) -> None:
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file; expected a folder")
    if Layout(output, output).manifest.exists():
        raise UsageError(
            f"{output} is the output folder of a run, which is not converted into; choose another --output"
        )
    if output.is_dir() and any(output.iterdir()) and not options.overwrite:
        raise UsageError(f"{output} is not empty; choose another --output, or --overwrite to replace labels there")
    check_writable(output)


def _image_folder(path: Path, options: ConvertOptions, run: RunFolder | None, name: str) -> Path | None:
    if run is None or options.images is not None:
        return image_folder(path, options.images, name)
    folder = run.layout.input_root
    return folder if folder.is_dir() else None


def image_folder(path: Path, given: str | None, name: str) -> Path | None:
    """Return the folder of the images of labels: `given` (--images), or the one in a usual place; None: not found.

    `name`: the format of the labels.

    Raises:
        UsageError: the folder that was given does not exist.
    """
    if given is None:
        return find_image_folder(path, itself=not (name in FORMATS and FORMATS[name].has_pictures))
    folder = Path(os.path.abspath(Path(given).expanduser()))  # noqa: PTH100 - resolve() would follow links
    if not folder.is_dir():
        raise UsageError(f"--images {given} is not a folder; expected the folder of the images")
    return folder


def _read_run(source: Source, run: RunFolder) -> LabelSet:
    """Return the records of a run; images that it could not label are no failures of the conversion."""
    entries = run.entries()
    if unlabelled := sum(not entry.done for entry in entries.values()):
        source.remarks["failed images of the run have no labels"] += unlabelled

    def read(key: str) -> ReadImage:
        return ReadImage(key, annotation=run.record(key))

    done = sorted(key for key, entry in entries.items() if entry.done)
    return LabelSet(run.manifest.names, entries=[LabelEntry(key, read, exact=True) for key in done])


def _with_new_classes(
    annotations: Iterable[Annotation | Failure], classes: MappedClasses
) -> Iterator[Annotation | Failure]:
    for item in annotations:
        try:
            yield item if isinstance(item, Failure) else classes.annotation(item)
        except ImageError as error:
            yield Failure(item.key, str(error))


class _Writer:
    """Writes one format, and counts."""

    def __init__(
        self,
        fmt: LabelFormat,
        options: ConvertOptions,
        source: Source,
        names: Mapping[int, str],
        output: Path,
        watch: Watch,
        *,
        shapes: PolygonOptions,
        fingerprint: str,
        dry_run: bool,
    ) -> None:
        self.images = self.instances = self.files = 0
        self.failures: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self.written: set[str] = set()
        self.lost: Counter[str] = Counter()
        self.first_lost: dict[str, str] = {}
        """Kind of loss -> the first image."""
        self.rows: int | None = None
        """Of label files; None where the format has none."""
        self._format, self._options, self._source, self._names = fmt, options, source, names
        self._shapes, self._fingerprint = shapes, fingerprint
        self._layout = Layout(source.images or output, output)
        self._watch, self._dry_run = watch, dry_run
        own = (name for target in options.format for name in FORMATS[target].own_files)
        self._reserved = {output / name for name in own}
        self._class_ids: set[int] = set()
        self._taken: dict[str, str] = {}
        """Label name -> the image that has it."""

    def write(self, annotations: Iterable[Annotation | Failure]) -> None:
        names, fmt, output = self._names, self._format, self._layout.output
        done = self._done(annotations)
        if fmt.folded_name is not None:
            self._put(write_atomic_pieces, output / fmt.folded_name, fmt.fold(done, names))
        for _ in done:  # what a fold has not asked for
            pass
        splits = self._layout.splits_from_output() if self._source.images else {}
        # Readers refuse objects of classes that have no name there: numbers stand for names that are not known.
        named = names or complete({class_id: str(class_id) for class_id in self._class_ids})
        for file, data in fmt.data_set_files(named, splits).items():
            self._put(write_atomic, output / file, data)

    def _put(self, write: Callable[[Path, T], None], path: Path, content: T) -> None:
        self.files += 1
        if not self._dry_run:
            write(path, content)
        elif isinstance(content, Iterator):  # it is made as if, so that what fails is known
            for _ in content:
                pass

    def _done(self, annotations: Iterable[Annotation | Failure]) -> Iterator[Rendering]:
        """Each image, once its own files are written."""
        for item in annotations:
            failure = item if isinstance(item, Failure) else None
            if not isinstance(item, Failure):
                try:
                    rendering = self._rendering(item)
                    self._check_pixels(rendering)
                    self._publish(rendering)
                except (ImageError, ValueError, OSError) as error:  # but a StorageError would befall all
                    failure = Failure(item.key, one_line(error))
            if failure is not None:
                (self.left_out if failure.expected else self.failures)[failure.key] = failure.reason
                continue
            self.written.add(item.key)
            self.images += 1
            self.instances += len(rendering.annotation.instances)
            self._class_ids |= {one.class_id for one in rendering.annotation.instances}
            lost = losses(self._format, rendering)
            self.first_lost.update((kind, item.key) for kind in lost.keys() - self.first_lost.keys())
            self.lost += lost
            self._watch(self.images)
            yield rendering

    def _rendering(self, annotation: Annotation) -> Rendering:
        pixels = None
        if "pixels" in self._format.needs:
            if annotation.key not in self._source.refs:
                raise ImageError(
                    f"no such image in {self._source.images or 'sight: give its folder with --images'}"
                )
            pixels = read_image(self._source.refs[annotation.key], max_pixels=self._options.input.max_pixels).pixels
        images = self._layout.images_from_output if self._source.images else ""
        return Rendering(
            annotation, self._names, self._shapes, pixels, images=images, fingerprint=self._fingerprint
        )

    def _check_pixels(self, rendering: Rendering) -> None:
        """Refuse an image of whose objects the format holds none: an empty label would say that nothing is there.

        Raises:
            ValueError: none of its objects has pixels.
        """
        instances = rendering.annotation.instances
        if instances and "empty" in self._format.loses and not any(one.mask.area for one in instances):
            raise ValueError(f"no label is written: none of its {len(instances)} objects has pixels")

    def _publish(self, rendering: Rendering) -> None:
        """Write the image's own files.

        Raises:
            ValueError: another image has them, or the format cannot hold the image.
            OSError: they cannot be written, e.g. because of their names.
            StorageError: nothing can be written.
        """
        key = rendering.annotation.key
        whole = self._claim(key)
        suffixes = self._format.suffixes
        for suffix, files in zip(suffixes, self._format.render_all(rendering), strict=True):
            path = Path(self._layout.label(key, suffix, whole_name=whole))
            if path in self._reserved:
                raise ValueError(f"its label file would be the {path.name} of all images: rename the image")
            self._put(write_files, path, files)
            if (rows := self._format.count_rows(files)) is not None:
                self.rows = (self.rows or 0) + rows

    def _claim(self, key: str) -> bool:
        """Return whether the image's files bear its whole name: it has no suffix, or another image has the plain
        one.
        """
        by_stem = bool(self._format.suffixes) or self._format.one_per_stem
        if not by_stem:  # the file for all images tells names apart that differ in case alone
            return False
        name = _without_suffix(key)
        if self._options.naming.on_collision == "suffix" and self._taken.get(name.casefold(), key) != key:
            name = key
        owner = self._taken.get(name.casefold())
        if owner == key:
            raise ValueError("the labels list this image twice")
        if owner is not None:
            raise ValueError(f"its label file would be that of {owner}: rename one, or use --on-collision suffix")
        self._taken[name.casefold()] = key
        return name == key


def _without_suffix(key: str) -> str:
    """Return the key without its last suffix; labels from elsewhere may name images without any."""
    folder, slash, name = key.rpartition("/")
    return folder + slash + (stem_of(name) if "." in name else name)
