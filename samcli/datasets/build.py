"""Build a data set that a YOLO trainer takes as it is, out of a folder of images and one of labels."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from samcli.config import DatasetOptions
from samcli.datasets.splits import ImageGroup, group_of, parse_pattern, parse_shares, split_groups
from samcli.datasets.trainer_rows import Shape, judge
from samcli.errors import SamcliError, UsageError, counted, is_worth_retrying, one_line
from samcli.files import check_writable, new_folder
from samcli.images import find_images
from samcli.labels.class_map import IDENTITY, ClassMap, MappedClasses
from samcli.labels.class_names import DATA_YAML, SPLITS, find_names_file, read_names
from samcli.labels.formats.reading import not_yolo
from samcli.labels.formats.sources import first_file, label_places, label_trees
from samcli.labels.formats.yolo import label_folder
from samcli.labels.yolo_rows import numbered_rows
from samcli.output.authors import author_counts, authors_of
from samcli.output.journal import JournalEntry
from samcli.output.layout import Listing, default_output, stem_of
from samcli.output.placing import LabelJournal, RowCount
from samcli.types import Author, Withheld

SPLITS_FILE = "splits.csv"
"""Which image is where, and why."""

_SHOWN_NAMES = 5
"""Of classes that lack something."""

_EXAMPLES = {"train": "training examples", "val": "validation examples", "test": "test examples"}


@dataclass
class _Member:
    """An image that is in the data set."""

    key: str
    label: Path | None
    classes: Counter[int]
    """New class id -> objects."""
    rows: int
    """Of its label file."""
    shape: Shape | None
    group: str
    authors: Counter[Author]
    """Objects by author; none where no run has written the label file as it is."""


@dataclass
class SplitCounts:
    """Contents of one split, in numbers."""

    images: int = 0
    background: int = 0
    """Images without any object."""
    objects: Counter[str] = field(default_factory=Counter)
    """By class name."""
    rows: int = 0
    """Of the label files: a trainer takes each as one object."""
    authors: Counter[Author] = field(default_factory=Counter)
    """Objects by author, of the label files that are as a run has written them."""

    @property
    def of_unknown_author(self) -> int:
        """Return the number of the other objects."""
        return self.objects.total() - self.authors.total()


@dataclass
class Dataset:
    """Result of building a data set."""

    output: Path
    names: dict[int, str]
    splits: dict[str, SplitCounts]
    unlabelled: int = 0
    """Images without a label file; in the data set only as background."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Images whose labels no trainer would take, and why."""
    incomplete: list[str] = field(default_factory=list)
    """Images that show objects without a label; in the data set only where they are to be kept."""
    excluded: list[str] = field(default_factory=list)
    """Images that a person excluded; never in the data set."""
    copied: int = 0
    """Images that were copied as links were not possible."""
    notes: list[str] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """0 all in; 3 some were left out."""
        return 3 if self.left_out else 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "output": str(self.output),
            "data": str(self.output / DATA_YAML),
            "names": self.names,
            "splits": {
                name: {
                    "images": one.images,
                    "background": one.background,
                    "objects": dict(one.objects),
                    "rows": one.rows,
                    "objects_by_author": {**author_counts(one.authors), "unknown": one.of_unknown_author},
                }
                for name, one in self.splits.items()
            },
            "unlabelled": self.unlabelled,
            "left_out": self.left_out,
            "incomplete": self.incomplete,
            "excluded": self.excluded,
            "notes": self.notes,
        }


def build_dataset(
    output: Path,
    images: Path,
    options: DatasetOptions,
    *,
    labels: Path | None = None,
    names: Path | None = None,
    class_map: ClassMap | None = None,
) -> Dataset:
    """Build `images/{train,val,test}`, `labels/{...}` and `data.yaml` in `output`, whole or not at all.

    `labels`: mirrors the images' tree; None: where a trainer looks for them. `names`: a file of class names;
    None: those that go with the labels. Images are linked or copied, labels are files of their own.

    Raises:
        UsageError: something is in `output` already, or what was asked for cannot be done.
    """
    output = Path(os.path.abspath(output))  # noqa: PTH100 - resolve() would follow links
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} is not empty; give another folder, or remove it")
    check_writable(output)
    if not images.is_dir():
        raise UsageError(f"--images {images} is not a folder")
    images = Path(os.path.abspath(images))  # noqa: PTH100
    labels = Path(os.path.abspath(labels)) if labels else _labels_of(images)  # noqa: PTH100
    if problem := not_yolo(labels):
        raise UsageError(f"--labels: {problem}")
    labels = label_folder(labels, images)
    shares = parse_shares(options.split)
    remarks = Counter[str]()
    classes = (class_map or IDENTITY).apply(_names(labels, names, remarks))
    result = Dataset(output, classes.names, {split: SplitCounts() for split in shares})
    result.notes += [f"{count} {what}" for what, count in remarks.items()]
    members = _members(images, labels, options, classes, result)
    groups = _groups(members)
    placed = split_groups(groups, shares, options.seed)
    _check_shapes(members, result)
    _write(images, members, {member.key: placed[member.group] for member in members}, options, classes, result)
    if result.copied:
        kind = "symbolic" if options.link == "symlink" else "hard"
        result.notes.append(f"{counted(result.copied, 'image')} copied: {kind} links are not possible here")
    result.notes += _empty(result)
    return result


def _empty(result: Dataset) -> Iterator[str]:
    """Yield a note for the classes and the splits without any object."""
    totals = sum((one.objects for one in result.splits.values()), Counter[str]())
    if nowhere := [name for name in result.names.values() if not totals[name]]:
        yield f"no examples in any split of: {_listed(nowhere)}"
    for split, one in result.splits.items():
        missing = [name for name in result.names.values() if totals[name] and not one.objects[name]]
        if not one.objects:
            yield f"{split} has no objects"
        elif missing:
            lack = "" if split == "train" else " (metrics will be missing)"
            yield f"no {_EXAMPLES[split]} of: {_listed(missing)}{lack}"


def _listed(names: list[str]) -> str:
    """Return the first few of many class names."""
    more = f" and {len(names) - _SHOWN_NAMES} more classes" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(names[:_SHOWN_NAMES]) + more


def _labels_of(images: Path) -> Path:
    """Return the folder in which a trainer looks for the labels of an image folder, or the folder itself."""
    images = Path(os.path.abspath(images))  # noqa: PTH100
    usual = default_output(images)
    return images if not usual.is_dir() and first_file(images, ".txt") else usual


def _names(labels: Path, given: Path | None, remarks: Counter[str]) -> dict[int, str]:
    path = given or find_names_file(labels)
    if path is None:
        raise UsageError(f"no data.yaml or classes.txt with {labels}; give the class names with --names")
    return read_names(path, remarks)


def _members(
    images: Path, labels: Path, options: DatasetOptions, classes: MappedClasses, result: Dataset
) -> list[_Member]:
    """Return the images that go into the data set, with what their labels show."""
    pattern = parse_pattern(options.group_by) if options.group_by else None
    members, apart = [], 0
    owners: dict[Path, str] = {}
    journal = LabelJournal.of(labels)
    withheld, row_counts = journal.withheld(), journal.row_counts()
    for key, found_label in _with_labels(images, labels):
        label = found_label
        if (image := withheld.get(key)) is not None:
            is_incomplete = image.why is Withheld.INCOMPLETE
            (result.incomplete if is_incomplete else result.excluded).append(key)
            if not (is_incomplete and options.incomplete == "keep"):
                continue
            label = image.label
        if label is None:
            result.unlabelled += 1
            if options.unlabelled == "skip":
                continue
        elif (owner := owners.setdefault(label, key)) != key:
            result.left_out[key] = f"{label} is the label file of {owner}"
            continue
        group = group_of(key, pattern)
        try:
            found, shape = _judged(label, classes) if label else (Counter[int](), None)
            rows = found.total()
            found = _objects(found, row_counts.get(key), classes)
        except _Unfit as error:
            result.left_out[key] = str(error)
            continue
        apart += pattern is not None and group == key
        authors = _authors(journal.entries.get(key), found, classes)
        members.append(_Member(key, label, found, rows, shape, group, authors))
    if not members:
        why = next(iter(result.left_out.values()), _why_none(result))
        raise UsageError(f"no image of {images} can be used in the data set: {why}")
    if apart:
        result.notes.append(
            f"--group-by matches nothing in {apart} image paths: each of these images is its own group"
        )
    return members


def _why_none(result: Dataset) -> str:
    if withheld := len(result.incomplete) + len(result.excluded):
        return f"{withheld} are incomplete or excluded (--incomplete keep includes the incomplete ones)"
    return "none has a label file (--unlabelled background includes them without objects)"


def _with_labels(images: Path, labels: Path) -> Iterator[tuple[str, Path | None]]:
    """Keys of the images and their label files: `a/1.jpg.txt` before `a/1.txt`; see `label_places`."""
    listing, trees = Listing(), label_trees(labels, ".txt")
    for ref in find_images(images):
        places = label_places(ref.key, ".txt", trees)
        yield ref.key, next((Path(name) for name in places if listing.has(name)), None)


class _Unfit(Exception):  # noqa: N818 - it is the image that is unfit
    """Why no trainer would take an image's labels."""


def _objects(rows: Counter[int], written: RowCount | None, classes: MappedClasses) -> Counter[int]:
    """Objects by new class id: as many as `rows`, unless the run that wrote so many rows says otherwise."""
    if written is None or written.rows != rows.total():
        return rows
    return _renumbered(written.objects, classes)


def _renumbered(objects: Mapping[int, int], classes: MappedClasses) -> Counter[int]:
    """Return numbers of objects by new class id, without those of dropped classes."""
    found: Counter[int] = Counter()
    for class_id, count in objects.items():
        if (new := classes.ids.get(class_id)) is not None:
            found[new] += count
    return found


def _authors(entry: JournalEntry | None, objects: Counter[int], classes: MappedClasses) -> Counter[Author]:
    """Return the numbers of an image's objects by author; none where its labels have others than the journal."""
    if entry is None or _renumbered(dict(entry.instances), classes) != objects:
        return Counter()
    by_class = authors_of(entry).items()
    return Counter({author: _renumbered(counts, classes).total() for author, counts in by_class})


def _judged(label: Path, classes: MappedClasses) -> tuple[Counter[int], Shape | None]:
    """Rows by new class id, and whether they are boxes or polygons."""
    try:
        data = label.read_bytes()
    except OSError as error:
        if is_worth_retrying(error):  # no verdict on the label: a data set without it would be wrong
            raise SamcliError(
                f"{one_line(error)}: nothing was written. Fix this and run the command again"
            ) from error
        raise _Unfit(f"{label} cannot be read: {one_line(error)}") from error
    judgement = judge(data)
    if judgement.rejected:
        problem = next(one for one in judgement.problems if one.is_error)
        where = f"{label}:{problem.line}" if problem.line else f"{label}"
        raise _Unfit(f"{where}: {problem.kind}, {problem.detail} (details: samcli verify)")
    found: Counter[int] = Counter()
    for row in _rows(data):
        class_id = int(float(row[0]))
        if class_id not in classes.ids:
            raise _Unfit(f"{label}: class {class_id} has no name")
        new = classes.ids[class_id]
        if new is not None:
            found[new] += 1
    return found, judgement.shape if found else None


def _rows(data: bytes) -> list[list[str]]:
    return [line.split() for _, line in numbered_rows(data)]


def _mapped(data: bytes, classes: MappedClasses) -> bytes:
    """Rows with new class ids, without those of dropped classes."""
    rows = []
    for words in _rows(data):
        new = classes.ids[int(float(words[0]))]
        if new is not None:
            rows.append(" ".join([str(new), *words[1:]]) + "\n")
    return "".join(rows).encode()


def _groups(members: list[_Member]) -> list[ImageGroup]:
    images: Counter[str] = Counter()
    shown: dict[str, Counter[int]] = defaultdict(Counter)
    for member in members:
        images[member.group] += 1
        shown[member.group].update(member.classes.keys())
    return [ImageGroup(name, count, shown[name]) for name, count in images.items()]


def _check_shapes(members: list[_Member], result: Dataset) -> None:
    shapes = Counter(member.shape for member in members if member.shape)
    if len(shapes) > 1:
        result.notes.append(
            f"{shapes['boxes']} images have boxes and {shapes['polygons']} polygons: "
            "a trainer of segmentation models refuses it, a trainer of detectors uses the boxes only"
        )


def _write(
    images: Path,
    members: list[_Member],
    placed: Mapping[str, str],
    options: DatasetOptions,
    classes: MappedClasses,
    result: Dataset,
) -> None:
    """Write everything into a folder beside the output, which then takes its name."""
    with new_folder(result.output) as building:
        targets = _targets(members, placed)
        for member in members:
            split, target = placed[member.key], targets[member.key]
            linked = _place(images / member.key, building / "images" / split / target, options.link)
            result.copied += not linked and options.link != "copy"
            rows = _mapped(member.label.read_bytes(), classes) if member.label else b""
            label = building / "labels" / split / f"{stem_of(target)}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_bytes(rows)
            _count(result.splits[split], member, classes)
        (building / DATA_YAML).write_text(_data_yaml(result), encoding="utf-8")
        (building / SPLITS_FILE).write_bytes(_splits_csv(members, placed, targets))


def _targets(members: list[_Member], placed: Mapping[str, str]) -> dict[str, str]:
    """Return the path of each image below its split.

    A trainer finds a label by exchanging the last folder `images` in a path, and the suffix: no folder below
    may have that name, and no two images a stem in common.
    """
    taken: set[tuple[str, str]] = set()
    targets = {}
    for member in members:
        path = PurePosixPath(
            *(f"{part}_" if part == "images" else part for part in PurePosixPath(member.key).parts)
        )
        stem, number = path.stem, 1
        while (identity := (placed[member.key], str(path.with_suffix("")).casefold())) in taken:
            number += 1
            path = path.with_name(f"{stem}-{number}{path.suffix}")
        taken.add(identity)
        targets[member.key] = path.as_posix()
    return targets


def _place(source: Path, target: Path, how: str) -> bool:
    """Link an image, or copy it where that is not possible. Return whether it was linked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    real = Path(os.path.realpath(source))  # a hard link to a link would depend on where it lies
    try:
        if how == "symlink":
            target.symlink_to(real)
            return True
        if how == "hard":
            os.link(real, target)
            return True
    except OSError:  # another file system, or one without links; on Windows, a user without the right
        pass
    shutil.copy2(real, target)
    return False


def _count(counts: SplitCounts, member: _Member, classes: MappedClasses) -> None:
    counts.images += 1
    counts.background += not member.classes
    counts.rows += member.rows
    counts.authors += member.authors
    for class_id, number in member.classes.items():
        counts.objects[classes.names[class_id]] += number


def _data_yaml(result: Dataset) -> str:
    import yaml

    content: dict[str, Any] = {split: f"images/{split}" for split in SPLITS if split in result.splits}
    text = yaml.safe_dump({**content, "names": result.names}, sort_keys=False, allow_unicode=True)
    return f"# Written by samcli. Paths are relative to this file.\n{text}"


def _splits_csv(members: list[_Member], placed: Mapping[str, str], targets: Mapping[str, str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["key", "split", "file", "group"])
    for member in members:
        split = placed[member.key]
        writer.writerow([member.key, split, f"images/{split}/{targets[member.key]}", member.group])
    return text.getvalue().encode("utf-8", "surrogateescape")
