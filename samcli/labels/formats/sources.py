"""Labels to be read: where they lie, the images they are of, and what reading them gives.

Readers give one annotation at a time, and a `Failure` for an image whose labels cannot be read: one damaged
file never ends the reading of the others.
"""

from __future__ import annotations

import functools
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from samcli.errors import ImageError, UsageError
from samcli.images import find_images, probe_image
from samcli.labels.objects import LabelEntry, ReadImage
from samcli.labels.shapes import box_mask as box_mask
from samcli.output.layout import Layout, Listing, images_of
from samcli.types import Annotation, ImageRef, Size

_NO_LABELS = {"classes.txt", "labels.txt", "labelmap.txt", "train.txt", "val.txt", "test.txt"}
"""Text files that lie among labels and are none."""


@dataclass(frozen=True)
class Failure:
    """An image, or a label file without one, that could not be read, and why."""

    key: str
    reason: str
    images: tuple[str, ...] = ()
    """Keys of images that it may be about."""
    expected: bool = False
    """Nothing is wrong: its objects are all of kinds that are not asked for, or nobody has labelled it."""


@dataclass(frozen=True)
class LabelSet:
    """Result of a reader: class names, and the labelled images, not read yet."""

    names: Mapping[int, str]
    annotations: Iterable[Annotation | ReadImage | Failure] = ()
    """Images that are read one after the other, in the order of keys, where `entries` cannot be listed."""
    entries: Sequence[LabelEntry] = ()
    failures: Sequence[Failure] = ()
    """Images and label files of which is known beforehand that they cannot be read."""
    declared: bool = True
    """Whether the names are the labels' own; else numbers stand for them."""
    file_ids: Mapping[int, int] = field(default_factory=dict)
    """Class id -> the number by which the labels know the class, where that is another."""
    reread: Callable[[Source], LabelSet] | None = None
    """Of labels with a file an image, found by the image's place: what they are for other images."""


@dataclass(frozen=True)
class Source:
    """A file or folder of labels, and the folder of their images where it is known.

    `rescale`: labels of another size than the image are scaled to it. `crowds`: `keep` or `drop` regions of
    crowds. `remarks`: how often something was met that a user should know of; it grows while labels are read.
    """

    path: Path
    images: Path | None = None
    max_pixels: int = 500_000_000
    rescale: bool = False
    crowds: str = "drop"
    sizes_elsewhere: bool = False
    """Whether images need not be at hand: who reads knows their sizes."""
    sizes: Mapping[str, Size] = field(default_factory=dict)
    """Of images that need not be at hand, (height, width) by key."""
    names: Mapping[int, str] | None = None
    """Class names that a user gives, instead of those beside label files."""
    known: Collection[str] | None = None
    """Keys of the images, where they are known without their folder."""
    remarks: Counter[str] = field(default_factory=Counter)

    @property
    def folder(self) -> Path:
        """Return the folder of labels, or the one in which the file lies."""
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def refs(self) -> dict[str, ImageRef]:
        """Return the images by key, in order; none where their folder is not known."""
        return {} if self.images is None else {ref.key: ref for ref in find_images(self.images)}

    @property
    def keys(self) -> Collection[str] | None:
        """Return the images' keys; None where nothing is known of them."""
        return self.known if self.images is None else self.refs

    def size(self, key: str) -> Size:
        """(height, width) of an image, upright, from its header.

        Raises:
            ImageError: there is no such image, or it cannot be read.
        """
        if key in self.sizes:
            return self.sizes[key]
        if self.images is None:
            raise ImageError("the labels do not say the image's size: give the images' folder with --images")
        if key not in self.refs:
            raise ImageError(f"no such image in {self.images}")
        return probe_image(self.refs[key], self.max_pixels).image_size

    def image_entries(
        self, suffix: str, parse: Callable[[str, str], Annotation | ReadImage], folder: Path | None = None
    ) -> tuple[list[LabelEntry], list[Failure]]:
        """Return an entry for each image that has a label file, and failures: label files without image.

        `parse(key, label file)`. `folder`: of the labels, where it is not the source's. Where the images are not
        known, an entry for each label file, named as its image is but for the suffix.
        """
        top = folder or self.folder
        if self.keys is None:
            files = [(name, file) for name, file in label_files(top, suffix) if Path(file).name not in _NO_LABELS]
            return [_entry(name[: len(name) - len(suffix)], file, parse) for name, file in sorted(files)], []
        layout, listing = Layout(Path(), top), Listing()
        trees = label_trees(top, suffix)
        entries: list[LabelEntry] = []
        lost: list[Failure] = []
        seen: dict[str, str] = {}
        for key in self.keys:
            own = layout.label(key, suffix, whole_name=True)
            file = next((name for name in label_places(key, suffix, trees) if listing.has(name)), None)
            if file is None:
                self.remarks["images have no labels and were left out"] += 1
            elif file in seen:  # their objects are surely not in the same places
                remedy = f"name this one's {posixpath.basename(own)}"
                lost.append(Failure(key, f"{file} is the label file of {seen[file]}; {remedy}"))
            else:
                seen[file] = key
                entries.append(_entry(key, file, parse))
        lost += [
            Failure(name, f"a label file without an image in {self.images or 'the input'}")
            for name, file in label_files(top, suffix)
            if file not in seen and Path(file).name not in _NO_LABELS
        ]
        return entries, lost


def label_places(key: str, suffix: str, trees: Sequence[Layout]) -> Iterator[str]:
    """Return the possible paths of an image's label file: in the same tree, or in `labels` instead of `images`."""
    for tree in trees:
        yield from (tree.label(key, suffix, whole_name=whole) for whole in (True, False))
    folder, slash, name = key.rpartition("/")
    parts = folder.split("/")
    if slash and "images" in parts:
        index = len(parts) - 1 - parts[::-1].index("images")
        beside = "/".join([*parts[:index], "labels", *parts[index + 1 :], name])
        yield from (trees[0].label(beside, suffix, whole_name=whole) for whole in (True, False))


def label_trees(folder: Path, suffix: str) -> list[Layout]:
    """Return the trees of label files in a folder.

    Its own, and Darknet's `obj_train_data` and so on, without images.
    """
    darknet = sorted(path for path in folder.glob("obj_*_data") if path.is_dir()) if suffix == ".txt" else []
    return [Layout(Path(), tree) for tree in (folder, *darknet)]


def _entry(name: str, file: str, parse: Callable[[str, str], Annotation | ReadImage]) -> LabelEntry:
    return LabelEntry(name, functools.partial(_parsed, parse, file), file, exact=True)


def _parsed(parse: Callable[[str, str], Annotation | ReadImage], file: str, key: str) -> ReadImage:
    found = parse(key, file)
    return found if isinstance(found, ReadImage) else ReadImage.of(found)


def label_files(folder: Path, suffix: str) -> Iterator[tuple[str, str]]:
    """(path below the tree of labels, whole path) of each file with that suffix, in order; hidden ones left out.

    As in `Layout.label`, a suffix may begin with a folder. `""` means folders with amg.py's `metadata.csv`.
    """
    above, slash, ending = suffix.rpartition("/")
    top = f"{folder}/{above}{slash}".rstrip("/")
    for place, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if not ending and "metadata.csv" in names and place != top:
            yield place[len(top) + 1 :], place
        for name in sorted(names):
            if ending and name.endswith(ending) and not name.startswith("."):
                file = f"{place}/{name}"
                yield file[len(top) + 1 :], file


def text_labels(folder: Path) -> Iterator[Path]:
    """Return the .txt files that may be label files, in order."""
    return (Path(file) for _, file in label_files(folder, ".txt") if Path(file).name not in _NO_LABELS)


def first_file(folder: Path, suffix: str) -> Path | None:
    """Return the first label file with that suffix, if there is one."""
    files = (file for _, file in label_files(folder, suffix) if Path(file).name not in _NO_LABELS)
    found = next(files, None)
    return Path(found) if found else None


def find_image_folder(path: Path, *, itself: bool) -> Path | None:
    """Return the image folder of a file or folder of labels, if it is in a usual place; else None.

    `labels` in the path exchanged for `images`; `images` or `JPEGImages` in it or beside it; the folder itself,
    unless labels are images too.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    folder = path if path.is_dir() else path.parent
    places = [place] if (place := images_of(folder)) else []
    places += [parent / name for parent in (folder, folder.parent) for name in ("images", "JPEGImages")]
    for place in (*places, folder) if itself else places:
        if place.is_dir():
            try:
                find_images(place)
            except UsageError:
                continue
            return place
    return None
