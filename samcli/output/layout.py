"""Define the paths of a run: labels, records, journal, and the label file of each image."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samcli.errors import UsageError
from samcli.files import fit_name, relative_posix
from samcli.output.shards import Shard, shards_of
from samcli.types import ImageRef

if TYPE_CHECKING:
    from samcli.output.remote import RemoteFolder
    from samcli.stores.source import ImageSource

RUN_FOLDER = ".samcli"


@dataclass(frozen=True)
class Layout:
    """An input root and the output folder that mirrors the tree below it."""

    input_root: Path
    output: Path
    shard: Shard | None = None
    """The part of the images that a process works on; None: all."""
    origin: str = ""
    """The address of images that are no files below the input root; empty: they are."""
    source: ImageSource | None = None
    """Opens such images; None: they are files, or nobody needs to open them."""
    remote: RemoteFolder | None = None
    """The output folder in an object store of which `output` is the local part; None: there is none."""

    @property
    def place(self) -> Path | str:
        """Return the output folder as the user knows it: its path, or its address in an object store."""
        return self.remote.url if self.remote else self.output

    @property
    def images(self) -> str:
        """Return the input as the user knows it."""
        return self.origin or str(self.input_root)

    def has_image(self, key: str) -> bool:
        """Return whether an image is still there; those of an object store are taken to be."""
        return bool(self.origin) or os.path.lexists(ImageRef(self.input_root, key).path)

    def names_in(self, folder: str) -> frozenset[str]:
        """Return the names in a folder of the output, none where it does not exist.

        Raises:
            OSError: it cannot be listed: what it holds must not count as missing.
        """
        names = _names_in(folder)
        return names if self.remote is None else names | self.remote.names_in(folder)

    @functools.cached_property
    def run_folder(self) -> Path:
        """Journal, recipe and records: what makes a run resumable and its labels convertible."""
        return self.output / RUN_FOLDER

    @property
    def journal(self) -> Path:
        return self._own("journal", ".jsonl")

    def journals(self, shards: int) -> list[Path]:
        """Return the journals of a run in that many shards; 0: of a run without shards."""
        parts: list[Shard | None] = [*shards_of(shards)] or [None]
        return [dataclasses.replace(self, shard=part).journal for part in parts]

    @property
    def large(self) -> Path:
        """Marks of large images at work."""
        return self._own("large", ".json")

    @property
    def running(self) -> Path:
        """Return a mark: a process is at work here, or was killed."""
        return self._own("running")

    @property
    def lock(self) -> Path:
        return self._own("lock")

    @property
    def lock_of_all(self) -> Path:
        """Return the lock of the whole folder."""
        return self.run_folder / "lock"

    def _own(self, name: str, suffix: str = "") -> Path:
        """Return the path of a file that each shard has for itself."""
        part = f"-{self.shard.name}" if self.shard else ""
        return self.run_folder / f"{name}{part}{suffix}"

    @property
    def unfolded(self) -> Path:
        """Return a mark: the files for all images do not hold what the records do."""
        return self.run_folder / "unfolded"

    @property
    def manifest(self) -> Path:
        return self.run_folder / "run.json"

    # Paths of single images are strings: they are asked for by the million.

    def record(self, key: str) -> str:
        """Path of the lossless record of an image."""
        folder, slash, name = key.rpartition("/")
        return f"{self._records}{folder}{slash}{record_name(name)}"

    def label(self, key: str, suffix: str, *, whole_name: bool = False) -> str:
        """Path of the label file: the image's name with another suffix, or with `suffix` added to the whole.

        A suffix may begin with a folder (`Annotations/.xml`), below which the tree is mirrored then.
        """
        folder, slash, name = key.rpartition("/")
        if "/" not in suffix:
            return f"{self._labels}{folder}{slash}{label_name(name, suffix, whole_name)}"
        above, _, suffix = suffix.rpartition("/")
        return f"{self._labels}{above}/{folder}{slash}{label_name(name, suffix, whole_name)}"

    def files_of(self, key: str, labels: Iterable[str]) -> list[str]:
        """Return the paths of all files of an image; `labels`: those of its label files."""
        labels = list(labels)
        return [self.record(key), str(self.corrected(key)), *labels, *map(self.aside, labels)]

    def aside(self, label: str) -> str:
        """Path at which a label file is kept aside while trainers do not get its image: the tree is mirrored."""
        return f"{self.withheld}/{label[len(self._labels) :]}"

    def preserved(self, label: str) -> Path:
        """Path of the copy of a label file, or of one for all images, as it was before the run."""
        return self.preserved_root / label[len(self._labels) :]

    def seal(self, label: str) -> Path:
        """Path of the hashes of what the run has made of a file that was there before; see `output.preserving`."""
        return self.run_folder / "seals" / f"{label[len(self._labels) :]}.sha256"

    def corrected(self, key: str) -> Path:
        """Path of the copy of an image's record with objects that people have corrected."""
        return self.corrected_root / self.record(key)[len(self._records) :]

    @functools.cached_property
    def corrected_root(self) -> Path:
        """Holds such copies, in the tree of the images."""
        return self.run_folder / "corrected"

    @functools.cached_property
    def preserved_root(self) -> Path:
        """Holds such copies, in the same tree as the output folder."""
        return self.run_folder / "existing"

    def own_file(self, name: str) -> str:
        """Path of a file for the whole data set."""
        return f"{self._labels}{name}"

    @functools.cached_property
    def withheld(self) -> Path:
        """Holds the label files that are kept aside."""
        return self.run_folder / "incomplete"

    @functools.cached_property
    def _records(self) -> str:
        return f"{self.run_folder}/records/"

    @functools.cached_property
    def _labels(self) -> str:
        return f"{self.output}/"

    @functools.cached_property
    def images_from_output(self) -> str:
        """Return the input root as seen from the output folder, POSIX."""
        return self.origin or relative_posix(self.input_root, self.output)

    def splits_from_output(self) -> dict[str, str]:
        """Image folders for training and validation as seen from the output; none where no trainer would look.

        `train` and `val` below the input are taken as such; else both are the whole. YOLO trainers look for a
        label by exchanging the last folder named `images` in a photo's path for `labels`.
        """
        if default_output(self.input_root) != self.output or "images" not in self.input_root.parts:
            return {}
        images = self.images_from_output
        splits = [name for name in ("train", "val", "test") if (self.input_root / name).is_dir()]
        if {"train", "val"} <= set(splits):
            return {name: f"{images}/{name}" for name in splits}
        return {"train": images, "val": images}


def nowhere(output: Path) -> Path:
    """Return the input root of images that are no files: nothing is ever there."""
    return output / RUN_FOLDER / "nowhere"


def record_name(name: str) -> str:
    """Name of the record of an image of that name."""
    return fit_name(name + ".json")


def label_name(name: str, suffix: str, whole_name: bool) -> str:
    """Name of the label file of an image of that name; `suffix` without a folder."""
    return fit_name((name if whole_name else name.rpartition(".")[0] or name) + suffix)


def stem_of(name: str) -> str:
    """Return a file's name (or path) without its last suffix; one that has none is its own stem."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)


def default_output(input_root: Path, folder: str = "labels") -> Path:
    """Return the path with its last folder `images` replaced by `folder`, or else `folder` beside the input."""
    parts = list(input_root.parts)
    for index in reversed(range(len(parts))):
        if parts[index] == "images":
            parts[index] = folder
            return Path(*parts)
    return input_root.parent / folder


def images_of(labels: Path) -> Path | None:
    """Return where trainers look for the images of a folder of labels: the inverse of `default_output`.

    The last folder named `labels` in the path becomes `images`; None where there is none.
    """
    parts = list(labels.parts)
    for index in reversed(range(len(parts))):
        if parts[index] == "labels":
            parts[index] = "images"
            return Path(*parts)
    return None


def make_layout(data: Path, output: Path | None, folder: str = "labels", *, whole: bool = False) -> Layout:
    """Return the layout of a run over `data`, an image or a folder.

    A folder whose images all lie below `images/` stands for that folder, unless it is to be taken `whole`: it is
    the usual shape of a data set.
    """
    if output is not None and (blocking := next((p for p in (output, *output.parents) if p.is_file()), None)):
        raise UsageError(f"--output {output}: {blocking} is a file; expected a folder")
    root = Path(os.path.abspath(data.expanduser()))  # noqa: PTH100 - resolve() would follow links
    if root.is_file():
        root = root.parent
    elif not whole and (root / "images").is_dir() and root.name != "images" and not _has_images_outside(root):
        root = root / "images"
    return Layout(root, Path(os.path.abspath(output.expanduser())) if output else default_output(root, folder))  # noqa: PTH100


def _has_images_outside(root: Path) -> bool:
    """Return whether an image lies below `root` but not below `root/images`."""
    from samcli.images import find_images

    with contextlib.suppress(UsageError):
        return bool(find_images(root, exclude=[root / "images"]))
    return False


@dataclass(frozen=True)
class LabelFiles:
    """Label files of each image.

    `whole_names`: keys whose label is named after the whole file name. `collisions`: keys that get none, and
    why. `released`: keys of images that are gone, whose label names others now need.
    """

    layout: Layout
    suffixes: tuple[str, ...]
    whole_names: frozenset[str]
    collisions: dict[str, str]
    released: tuple[str, ...] = ()

    def paths(self, key: str) -> list[str]:
        """Return the label files of an image, one for each format."""
        whole = key in self.whole_names
        label = self.layout.label
        return [label(key, suffix, whole_name=whole) for suffix in self.suffixes]


def assign_labels(
    layout: Layout,
    refs: Iterable[ImageRef],
    suffixes: Iterable[str],
    on_collision: str,
    owned: Mapping[str, bool] | None = None,
) -> LabelFiles:
    """Give each image its label name; of two with the same name the first in order keeps it.

    `owned`: images that have labels already, by key, and whether these bear the whole name. They keep them,
    whatever images have come since, until they are gone themselves. Names are compared as a file system that
    ignores case would.
    """
    owned, refs, suffixes = owned or {}, list(refs), tuple(suffixes)
    new = [ref for ref in refs if ref.key not in owned]
    owners = {_label_name(key, whole): key for key, whole in owned.items()} if new else {}
    if new and "" in suffixes:  # a folder for each image: it must not be one that holds other images' labels
        owners = {**_folders(refs), **owners}
    whole_names = {key for key, whole in owned.items() if whole}
    collisions, released = {}, []
    for ref in new:
        name = _label_name(ref.key, False)
        if on_collision == "suffix" and name in owners and not _is_gone(layout, owners[name], owned):
            name = _label_name(ref.key, True)
            whole_names.add(ref.key)
        owner = owners.get(name) or (_owner_above(ref.key, owners) if "" in suffixes else None)
        if owner is not None and _is_gone(layout, owner, owned):
            released.append(owner)
            owner = None
        if owner is not None:
            what = f"in the folder of {owner}" if owner.endswith("/") else f"that of {owner}"
            collisions[ref.key] = f"its label file would be {what}: rename one, or use --on-collision suffix"
        else:
            owners[name] = ref.key
    whole_names -= set(collisions)
    labels = LabelFiles(layout, suffixes, frozenset(whole_names), collisions, tuple(released))
    return _with_paths_apart(labels, refs) if len(suffixes) > 1 else labels


def _owner_above(key: str, owners: Mapping[str, str]) -> str | None:
    """Return the image whose folder of labels one of the folders of `key` would be."""
    folders = itertools.accumulate(key.casefold().split("/")[:-1], "{}/{}".format)
    return next((owner for folder in folders if not (owner := owners.get(folder, "/")).endswith("/")), None)


def _with_paths_apart(labels: LabelFiles, refs: Iterable[ImageRef]) -> LabelFiles:
    """Fail the second of two images whose files of different formats would be the same (`a.png`, `a.edges.png`)."""
    takers: dict[str, str] = {}
    reasons = {}
    for ref in refs:
        if ref.key in labels.collisions:
            continue
        paths = [path.casefold() for path in labels.paths(ref.key)]
        if other := next((takers[path] for path in paths if path in takers), None):
            reasons[ref.key] = f"a file of its labels would be one of {other}: rename one"
        else:
            takers.update(dict.fromkeys(paths, ref.key))
    return dataclasses.replace(labels, collisions={**labels.collisions, **reasons}) if reasons else labels


def _folders(refs: Iterable[ImageRef]) -> dict[str, str]:
    """Folders of images below the root, as label names, with a slash at the end."""
    folders = {folder for ref in refs for folder in itertools.accumulate(ref.key.split("/")[:-1], "{}/{}".format)}
    return {folder.casefold(): folder + "/" for folder in folders}


def _label_name(key: str, whole: bool) -> str:
    return (key if whole else stem_of(key)).casefold()


def _is_gone(layout: Layout, key: str, owned: Mapping[str, bool]) -> bool:
    """Return whether the image whose labels an earlier run wrote is no longer there."""
    return key in owned and not layout.has_image(key)


class Listing:
    """Existence of files from one listing per folder: checking a million names one by one takes longer.

    Only the last few folders are remembered; ask in the order of keys.
    """

    def __init__(self, names_in: Callable[[str], frozenset[str]] | None = None) -> None:
        self._names = functools.lru_cache(maxsize=8)(names_in or _names_in)

    def has(self, path: str) -> bool:
        """Return whether the file existed when its folder was listed."""
        folder, _, name = path.rpartition("/")
        return name in self._names(folder)


class Presence:
    """Existence of each image's record and labels, from one listing per folder. Ask in the order of keys."""

    def __init__(self, labels: LabelFiles) -> None:
        self._labels = labels
        self._any_aside = bool(labels.layout.names_in(str(labels.layout.withheld)))
        self._folder: str | None = None
        self._records: frozenset[str] = frozenset()
        self._files: list[tuple[str, frozenset[str]]] = []

    def has_all(self, key: str) -> bool:
        """Return whether all of them existed when their folders were listed."""
        folder, _, name = key.rpartition("/")
        if folder != self._folder:
            self._enter(folder)
        if record_name(name) not in self._records:
            return False
        whole = key in self._labels.whole_names
        for suffix, names in self._files:  # noqa: SIM110 - a million times: a generator takes twice as long
            if label_name(name, suffix, whole) not in names:
                return False
        return True

    def _enter(self, folder: str) -> None:
        """Images of a folder have their files in one folder each for records and for labels of a suffix."""
        layout, any_key = self._labels.layout, f"{folder}/image" if folder else "image"
        self._folder = folder
        self._records = layout.names_in(layout.record(any_key).rpartition("/")[0])
        self._files = [
            (suffix.rpartition("/")[2], self._label_names(layout.label(any_key, suffix)))
            for suffix in self._labels.suffixes
        ]

    def _label_names(self, label: str) -> frozenset[str]:
        """Return the names in the folder of a label file, and in the one where such files are kept aside."""
        names_in = self._labels.layout.names_in
        names = names_in(label.rpartition("/")[0])
        if not self._any_aside:
            return names
        return names | names_in(self._labels.layout.aside(label).rpartition("/")[0])


def _names_in(folder: str) -> frozenset[str]:
    """Return the names in a folder, none where it does not exist.

    Raises:
        OSError: it cannot be listed: what it holds must not count as missing.
    """
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 - names, not paths
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
