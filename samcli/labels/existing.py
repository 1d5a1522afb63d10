"""Labels that were in an output folder before the run: which images have some, and their objects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from samcli.errors import ImageError
from samcli.labels.formats import FORMATS, LabelFormat
from samcli.labels.formats.reading import Labels
from samcli.labels.formats.sources import Source
from samcli.labels.objects import lines_of
from samcli.output.layout import LabelFiles, Layout, Listing
from samcli.output.run_folder import RunFolder
from samcli.types import Annotation, ExistingObjects, Origin, Size


@dataclass
class LabelledImages:
    """Images that had labels before the run."""

    formats: dict[str, str] = field(default_factory=dict)
    """Key -> name of the format of its labels."""
    unfit: dict[str, str] = field(default_factory=dict)
    """Key -> why nothing can be added to its labels."""

    def add(self, key: str, name: str) -> None:
        """Note that an image has labels of a format."""
        other = self.formats.setdefault(key, name)
        if other != name:
            self.unfit[key] = f"it has labels of two formats, {other} and {name}: run with one --format"
        elif not FORMATS[name].extends:
            self.unfit[key] = (
                f"--existing add cannot add to labels of the format {name}; samcli convert makes others"
            )


def find_labelled(
    labels: LabelFiles,
    names: Sequence[str],
    keys: Sequence[str],
    owned: Collection[str],
    own_files: Collection[str],
) -> LabelledImages:
    """Return which images have labels that no run of ours has made, in the formats of these names.

    `owned`: images whose labels are a run's. `own_files`: the files for all images that a run has made.

    Raises:
        UsageError: a file for all images cannot be read.
    """
    found, layout = LabelledImages(), labels.layout
    for name in names:
        fmt = FORMATS[name]
        for key in _with_own_files(fmt, labels, keys, owned):
            found.add(key, name)
        if not fmt.suffixes and fmt.is_read and (file := _file_before(fmt, layout, own_files)) is not None:
            for key in _spoken_of(fmt, file, keys):
                found.add(key, name)
    return found


def _with_own_files(
    fmt: LabelFormat, labels: LabelFiles, keys: Iterable[str], owned: Collection[str]
) -> Iterable[str]:
    """Yield the images with label files of their own: those without a record are not ours, nor are copied ones."""
    layout, listing = labels.layout, Listing()
    for key in keys:
        if key in labels.collisions:
            continue
        paths = [layout.label(key, one, whole_name=key in labels.whole_names) for one in fmt.suffixes]
        ours = key in owned or listing.has(layout.record(key))
        if any((not ours and listing.has(path)) or layout.preserved(path).is_file() for path in paths):
            yield key


def _file_before(fmt: LabelFormat, layout: Layout, own_files: Collection[str]) -> Path | None:
    """Return the file for all images as it was before the run, if there was one."""
    path = layout.own_file(fmt.folded_name or "")
    copy = layout.preserved(path)
    if copy.is_file():
        return copy
    return Path(path) if path not in own_files and Path(path).is_file() else None


def _spoken_of(fmt: LabelFormat, file: Path, keys: Sequence[str]) -> set[str]:
    """Return the images that a file lists, clearly or not."""
    source = Source(file, known=keys, sizes_elsewhere=True)
    labels = Labels(fmt.read(source), source)
    unclear = {key for failure in labels.failures for key in (failure.key, *failure.images)}
    return {*labels.keys(), *(unclear & set(keys))}


def files_of(layout: Layout) -> frozenset[str]:
    """Return the paths of the files for all images that the run in an output folder makes, if there is one."""
    run = RunFolder.find(layout.output)
    names = run.manifest.recipe.formats if run else ()
    return frozenset(layout.own_file(file) for name in names if name in FORMATS for file in FORMATS[name].own_files)


def existing_names(layout: Layout, formats: Sequence[str]) -> dict[int, str]:
    """Return the names of the classes of labels in one of these formats, by number; none where none are named.

    Raises:
        UsageError: the labels, or the file of their names, cannot be read.
    """
    for name in formats:
        fmt = FORMATS[name]
        copy = layout.preserved(layout.own_file(fmt.folded_name)) if fmt.folded_name else layout.output
        place = copy if copy.is_file() else layout.output
        if fmt.is_read and fmt.finds(place):
            labels = fmt.read(Source(place, sizes_elsewhere=True))
            if labels.declared:
                return dict(labels.names)
    return {}


class ExistingLabels:
    """The objects that images had before the run, read from the copies of their labels."""

    def __init__(
        self, layout: Layout, formats: Mapping[str, str], names: Mapping[int, str], keys: Collection[str]
    ) -> None:
        """`formats`: of each image's labels, by key. `names`: of the classes. `keys`: of all images."""
        self._layout, self._formats, self._keys = layout, formats, keys
        self._ids = {name.strip().casefold(): class_id for class_id, name in sorted(names.items(), reverse=True)}
        self._named = dict(names)
        self._open: dict[str, Labels] = {}
        self._speaking: dict[str, frozenset[str]] = {}
        self._sizes: dict[str, Size] = {}

    def __contains__(self, key: str) -> bool:
        """Return whether an image had labels."""
        return key in self._formats

    def annotation(self, key: str, size: Size) -> Annotation:
        """Return the objects that an image had.

        Raises:
            ImageError: not all of them can be read: then nothing can be held against them.
        """
        labels = self._labels(self._formats[key])
        if key not in self._speaking[self._formats[key]]:
            reason = next(
                (one.reason for one in labels.failures if key in (one.key, *one.images)), "they are not whole"
            )
            raise ImageError(f"its labels are left as they are: {reason}")
        self._sizes[key] = size
        try:
            image = labels.image(key, size)
        finally:
            del self._sizes[key]
        annotation, undrawn = image.drawn()
        omitted = (*image.omitted, *undrawn)
        if unread := [one for one in omitted if not one.expected]:
            raise ImageError(f"its labels are left as they are: {'; '.join(lines_of(('', one) for one in unread))}")
        instances = tuple(
            replace(
                one,
                class_id=self._class_id(one.class_id, labels),
                source=Origin.EXISTING,
                place=None if omitted else place,
            )
            for place, one in enumerate(annotation.instances)
        )
        return replace(
            annotation, instances=instances, existing=ExistingObjects(len(instances), labels.name_of(key))
        )

    def knows_classes(self, key: str) -> bool:
        """Return whether the labels of an image say what its objects are."""
        return "classes" not in FORMATS[self._formats[key]].loses

    def _class_id(self, own: int, labels: Labels) -> int:
        """Return the run's number of a class; labels that do not name their classes have the same numbers."""
        name = labels.names.get(own) if labels.declared else None
        return own if name is None or self._named.get(own) == name else self._ids[name.strip().casefold()]

    def _labels(self, name: str) -> Labels:
        if name not in self._open:
            fmt, layout = FORMATS[name], self._layout
            path = (
                layout.preserved_root if fmt.suffixes else layout.preserved(layout.own_file(fmt.folded_name or ""))
            )
            source = Source(
                path, known=self._keys, sizes_elsewhere=True, sizes=self._sizes, crowds="keep",
                names=self._named or None,
            )  # fmt: skip
            self._open[name] = Labels(fmt.read(source), source)
            self._speaking[name] = frozenset(self._open[name].keys())
        return self._open[name]
