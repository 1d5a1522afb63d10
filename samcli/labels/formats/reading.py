"""Open labels of any format that can be read, by its name or by what lies there; what all readers have in common.

Readers list entries (see `labels.objects`). Here the image of each is found by one order of rules (see
`labels.image_names`), its size is compared with that of the labels, and objects outside of it are left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from samcli.errors import ImageError, UsageError, missing_path, nearest
from samcli.labels.formats import FORMATS
from samcli.labels.formats.sources import Failure, LabelSet, Source, first_file
from samcli.labels.image_names import ImageNames, key_of_unseen
from samcli.labels.known_files import what_it_is
from samcli.labels.objects import (
    LabelEntry,
    LabelledObject,
    Omission,
    Omissions,
    ReadImage,
    gather,
    lack_of_file,
    lines_of,
)
from samcli.labels.yolo_rows import numbered_rows, read_class_id
from samcli.types import Annotation, Size

FILLED = "objects have no mask: their boxes were filled"
"""A remark that concerns formats which hold masks."""

_CROWD = "a crowd region (iscrowd) is not a single object (--crowds keep reads it as one)"
_SAME_RATIO = 0.01


def _sources() -> list[str]:
    """Return the values that `--from` accepts."""
    return ["records", *readable_formats()]


def readable_formats() -> list[str]:
    """Names of the formats that can be read."""
    return [name for name, fmt in FORMATS.items() if fmt.is_read]


def detect_format(path: Path) -> str:
    """Return the format of a file or folder of labels, from its names and the beginning of one of its files.

    Raises:
        UsageError: it is none that can be read, or could be several.
    """
    if not path.exists():
        raise missing_path(path, "a run's output folder, or labels")
    found = [name for name in readable_formats() if FORMATS[name].finds(path)]
    if len(found) == 1:
        return found[0]
    if not found:
        if known := what_it_is(path):
            raise UsageError(f"{path} is {known}")
        raise UsageError(f"no labels found in {path}; give their format with --from {'|'.join(_sources())}")
    raise UsageError(f"{path} could be {' or '.join(found)}; give the format with --from")


def not_yolo(path: Path) -> str | None:
    """Return why there can be no YOLO label files at a path: it is no folder, or holds labels of another format."""
    if not path.exists():
        return f"{path} does not exist; expected a folder of YOLO label files"
    if path.is_dir() and first_file(path, ".txt") is not None:
        return None
    found = [name for name in readable_formats() if FORMATS[name].finds(path)]
    if found:
        remedy = f"samcli convert {path} --to yolo makes YOLO labels of them"
        return f"{path} holds labels of the format {found[0]}; {remedy}"
    if path.is_dir():
        return None
    known = what_it_is(path)
    return f"{path} is {known}" if known else f"{path} is not a folder; expected a folder of YOLO label files"


def read_labels(name: str, source: Source) -> Labels:
    """Return the labels of a source in the format of that name.

    Raises:
        UsageError: they cannot be read at all, or the format has no reader.
    """
    if name not in readable_formats():
        raise UsageError(
            f"--from is '{name}'; expected one of {', '.join(_sources())}.{nearest(name, readable_formats())}"
        )
    if not source.path.exists():
        raise missing_path(source.path, f"labels of the format {name}")
    if FORMATS[name].suffixes and not source.path.is_dir():
        hint = f"; it is {known}" if (known := what_it_is(source.path)) else ""
        raise UsageError(f"{source.path} is a file; labels of the format {name} are a folder{hint}")
    found = Labels(FORMATS[name].read(source), source)
    if not found.keys() and not found.failures and not source.remarks:
        raise UsageError(f"{source.path} holds no labels of the format {name}")
    return found


class Labels:
    """Labels of many images, read one image at a time; their images are found when it is made."""

    def __init__(self, labels: LabelSet, source: Source) -> None:
        self.names, self.declared, self.file_ids = labels.names, labels.declared, labels.file_ids
        self.source = source
        self._labels = labels
        self._entries, lost = matched(labels.entries, source)
        self.failures = [*labels.failures, *lost]
        """Known before anything is read; more come while images are read."""
        self.omitted = Omissions()
        """What was left out of the images that `annotations` has given."""

    @cached_property
    def _read_at_once(self) -> dict[str, Annotation | ReadImage | Failure]:
        """Read with a reader that lists no entries."""
        return {item.key: item for item in self._labels.annotations}

    def among(self, keys: Collection[str]) -> Labels:
        """Return the same labels, held against these images."""
        source = replace(self.source, known=keys)
        reread = self._labels.reread
        return Labels(reread(source) if reread is not None else self._labels, source)

    def file_of(self, key: str) -> Path | None:
        """Return the label file of this image alone, if there is one."""
        entry = self._entries.get(key)
        return Path(entry.where) if entry is not None and self._labels.reread is not None else None

    def name_of(self, key: str) -> str:
        """Return the image as the labels name it."""
        entry = self._entries.get(key)
        return key if entry is None else entry.name

    @cached_property
    def _keys(self) -> list[str]:
        return sorted({*self._entries, *self._read_at_once})

    def keys(self) -> list[str]:
        """Return the images that are spoken of and can be told, in order."""
        return self._keys

    def class_ids(self) -> set[int]:
        """Return the class ids in labels without names, of rows that can be read."""
        found: set[int] = set()
        for key in self._keys:
            with contextlib.suppress(OSError, ValueError, ImageError):
                if (file := self.file_of(key)) is not None:
                    found.update(read_class_id(line.split()[0]) for _, line in numbered_rows(file.read_bytes()))
                else:
                    found.update(one.class_id for one in self.raw(key).objects)
        return found

    @staticmethod
    def stated_size(image: ReadImage) -> Size | None:
        """(height, width) as the labels state it."""
        return image.annotation.image_size if image.annotation else _usable(image.size)

    def image(self, key: str, size: Size | None = None) -> ReadImage:
        """Return the labels of an image with a known, checked size, without objects outside of it.

        `size`: the image's own, where it is known already.

        Raises:
            ImageError: its labels cannot be read, or are of an image of another size.
        """
        return self.checked(self.raw(key), size)

    def __iter__(self) -> Iterator[ReadImage | Failure]:
        """Every image in the order of keys, and those that cannot be read."""
        for key in sorted(self._entries):
            yield self._guarded(key)
        for item in self._labels.annotations:
            if isinstance(item, Failure):
                yield item
                continue
            try:
                yield self.checked(_as_read(item), None)
            except ImageError as error:
                yield Failure(item.key, str(error))
        yield from self.failures

    @property
    def annotations(self) -> Iterator[Annotation | Failure]:
        """Every image with its masks drawn. One of whose objects none can be used is a failure: not nothing."""
        for item in self:
            yield item if isinstance(item, Failure) else self._drawn(item)

    def annotation(self, key: str) -> Annotation | Failure:
        """Return an image with its masks drawn, or why there is none; see `annotations`."""
        item = self._guarded(key)
        return item if isinstance(item, Failure) else self._drawn(item)

    def _drawn(self, image: ReadImage) -> Annotation | Failure:
        annotation, undrawn = image.drawn()
        omitted = (*image.omitted, *undrawn)
        self.omitted.add(image.key, omitted)
        if omitted and not annotation.instances:
            lines = "; ".join(lines_of([("", one) for one in omitted]))
            return Failure(
                image.key, f"no label is written: {lines}", expected=all(one.expected for one in omitted)
            )
        if filled := sum(one.is_box for one in annotation.instances):
            self.source.remarks[FILLED] += filled
        return replace(annotation, omitted=len(omitted)) if omitted else annotation

    def _guarded(self, key: str) -> ReadImage | Failure:
        try:
            return self.image(key)
        except ImageError as error:
            return Failure(key, str(error))

    def raw(self, key: str) -> ReadImage:
        """Return the labels of an image, unchecked.

        Raises:
            ImageError: they cannot be read.
        """
        if (entry := self._entries.get(key)) is None:
            item = self._read_at_once[key]
            if isinstance(item, Failure):
                raise ImageError(item.reason)
            return _as_read(item)
        try:
            return entry.read(key)
        except ImageError:
            raise
        except Exception as error:  # a damaged file may make a parser raise anything
            raise ImageError(f"{entry.where}: {lack_of_file(error)}") from error

    def checked(self, image: ReadImage, size: Size | None) -> ReadImage:
        """Return the image, its size known and that of the labels, objects outside of it left out.

        `size`: the image's own, where it is known already.

        Raises:
            ImageError: it is of another size.
        """
        if image.annotation is not None:
            return image
        source = self.source
        own = size or (source.size(image.key) if source.images and image.key in source.refs else None)
        said, stated = image.size, _usable(image.size)
        image = replace(image, size=own or stated or source.size(image.key))  # which says what to do
        if own is not None and said is not None and not _agree(said, own):
            if not source.rescale or stated is None or _is_turned(stated, own):
                entry = self._entries.get(image.key)
                raise ImageError(another_size(Path(entry.where if entry else source.path).name, said, own))
            image = _scaled(image, stated, own)
        return _inside(image, drop_crowds=source.crowds == "drop", max_pixels=source.max_pixels)


def _as_read(item: Annotation | ReadImage) -> ReadImage:
    return item if isinstance(item, ReadImage) else ReadImage.of(item)


def _usable(size: Size | None) -> Size | None:
    """None of a size that is not stated, which some tools write as zero."""
    return size if size is not None and min(size) > 0 else None


def _agree(stated: Size, own: Size) -> bool:
    """Return whether what is stated of a size, where 0 says nothing, is so."""
    return all(said in (0, side) for said, side in zip(stated, own, strict=True))


def _is_turned(stated: Size, own: Size) -> bool:
    """Return whether labels are of the image before it was turned by 90 degrees: to stretch them would be wrong."""
    square = abs(own[0] / own[1] - 1) <= _SAME_RATIO
    return not square and _has_ratio((stated[1], stated[0]), own)


def _has_ratio(size: Size, own: Size) -> bool:
    return abs(size[0] / size[1] * own[1] / own[0] - 1) <= _SAME_RATIO


def another_size(where: str, stated: Size, own: Size, *, rescale: bool = True) -> str:
    """Why labels of one size do not fit an image of another; `rescale`: whether that can be asked for."""
    (height, width), (own_height, own_width) = stated, own
    said = f"{width or 'unknown'} x {height or 'unknown'}"
    text = f"{where} is about an image of {said} pixels, and this one has {own_width} x {own_height}"
    if not width or not height:
        return f"{text}: it is another image, or has been resized since"
    if _is_turned(stated, own):
        return f"{text}, upright: the labels were made before it was turned by its EXIF orientation"
    if _has_ratio(stated, own):
        return f"{text}: it has been resized since" + ("; --rescale scales the labels to it" if rescale else "")
    return f"{text}: it is another image, or a part of one"


def _scaled(image: ReadImage, stated: Size, own: Size) -> ReadImage:
    x, y = own[1] / stated[1], own[0] / stated[0]
    objects, omitted = gather(((one.where, one) for one in image.objects), lambda one: one.scaled(x, y))
    return replace(image, objects=objects, omitted=(*image.omitted, *omitted))


def _inside(image: ReadImage, *, drop_crowds: bool, max_pixels: int) -> ReadImage:
    """Without objects that lie outside of the image, are no shapes, or are crowds where these are not wanted."""
    size = image.size or (0, 0)
    if size[0] * size[1] > max_pixels:
        raise ImageError(f"{size[1]} x {size[0]} pixels stated; the most that --max-pixels allows is {max_pixels}")
    crowds = [one for one in image.objects if one.crowd] if drop_crowds else []
    wanted = [one for one in image.objects if not (drop_crowds and one.crowd)]
    objects, omitted = gather(((one.where, one) for one in wanted), lambda one: _checked_box(one, size))
    left = tuple(Omission(_CROWD, one.where, expected=True) for one in crowds)
    return replace(image, objects=objects, omitted=(*image.omitted, *left, *omitted))


def _checked_box(one: LabelledObject, size: Size) -> LabelledObject:
    """Return the object, which is known to lie in the image by its box.

    Raises:
        ValueError: it does not, or has no extent.
    """
    if one.shape.is_box or one.stated_box is None:
        box = one.shape.box(size) if one.shape.is_box else None
        if box is not None:
            check_box(box, size)
        return one
    try:
        check_box(one.stated_box, size)
    except ValueError:
        return replace(one, stated_box=None)  # the shape says where it is
    return one


def check_box(box: tuple[float, float, float, float], size: Size) -> None:
    """Raise an error for a box that has no part in an image.

    Raises:
        ValueError: so it is.
    """
    x1, y1, x2, y2 = box
    height, width = size
    shown = ", ".join(f"{value:g}" for value in box)
    if not all(abs(value) < float("inf") for value in box):
        raise ValueError(f"box ({shown}) is not finite")
    if not (x1 < x2 and y1 < y2):
        raise ValueError(f"box ({shown}) has no area")
    if not (x1 < width and y1 < height and x2 > 0 and y2 > 0):
        raise ValueError(f"box ({shown}) is outside the image of {width} x {height} pixels")


def matched(entries: Sequence[LabelEntry], source: Source) -> tuple[dict[str, LabelEntry], list[Failure]]:
    """Return the image of each entry by key, and those of which it cannot be told."""
    found, failures = _claims(entries, source)
    by_key: dict[str, list[LabelEntry]] = {}
    for key, entry in found:
        by_key.setdefault(key, []).append(entry)
    twice = [
        Failure(key, f"the labels list this image twice: {_places(claims)}; expected once")
        for key, claims in by_key.items()
        if len(claims) > 1
    ]
    return {key: claims[0] for key, claims in by_key.items() if len(claims) == 1}, [*failures, *twice]


def _places(entries: Sequence[LabelEntry]) -> str:
    places = dict.fromkeys(entry.where for entry in entries)
    names = dict.fromkeys(f"'{entry.name}'" for entry in entries)
    return " and ".join(places if len(places) > 1 else names)


def _claims(entries: Sequence[LabelEntry], source: Source) -> tuple[list[tuple[str, LabelEntry]], list[Failure]]:
    """(key, entry) for entries whose image is known; whole names go before parts of names."""
    if source.keys is None:
        named = [(entry.name if entry.exact else key_of_unseen(entry.name), entry) for entry in entries]
        nameless = [Failure(f"'{entry.name}'", f"{entry.where}: names no image") for key, entry in named if not key]
        return [(key, entry) for key, entry in named if key], nameless
    names = ImageNames(source.keys)
    found: list[tuple[str, LabelEntry]] = []
    failures: list[Failure] = []
    left: list[LabelEntry] = []
    for entry in entries:
        exact = [entry.name] if entry.exact else [key for key in entry.keys if key in source.keys][:1]
        exact = exact or names.exact(entry.name)
        if len(exact) == 1:
            found.append((exact[0], entry))
        else:
            left.append(entry)
    taken = {key for key, _ in found}
    whole = bool(found)
    for entry in left:
        near = names.alike(entry.name, whole=whole) or next(filter(None, map(names.of_stem, entry.stems)), [])
        alike = [key for key in near if key not in taken]
        if len(alike) == 1:
            found.append((alike[0], entry))
        elif near and not alike:
            reason = f"its image would be {near[0]}, for which {entry.where} has labels already"
            failures.append(Failure(entry.name, reason))
        else:
            failures.append(Failure(entry.name, _no_image(alike, source), images=tuple(alike)))
    return found, failures


def _no_image(alike: Sequence[str], source: Source) -> str:
    if not alike:
        return f"no image of that name in {source.images or 'the input'}"
    return f"could be {alike[0]} or {alike[1]}; expected the path below {source.images or 'the input'}"
