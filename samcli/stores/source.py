"""Images that are no files below the input root: objects in a store, files in tar files."""

from __future__ import annotations

import io
import logging
import operator
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from samcli.errors import ImageError, StorageError, UsageError
from samcli.images import is_image_name, suffix_of
from samcli.images.patterns import Pattern, is_pattern
from samcli.stores.addresses import absolute, expand_braces, folder_of_tar, is_store, is_tar
from samcli.stores.store import Entry, Store
from samcli.stores.tars import members
from samcli.types import ImageRef

log = logging.getLogger("samcli")

_LARGEST = 4 << 30
"""Bytes of an image: it is held in memory."""
_MARK = ".samcli/run.json"
"""In the output folder of a run: its pictures are no images of the input."""


@dataclass(frozen=True)
class ImageSource:
    """The images below an address. The key of an image is its path below it.

    `only`: the one image that was given. `pattern`: of the images that were given. `tars`: the tar files that were
    given, by the folder that stands for them in keys.
    """

    store: Store
    only: str | None = None
    pattern: Pattern | None = None
    tars: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Return the address."""
        return self.store.url

    @property
    def is_part(self) -> bool:
        """Return whether there may be images below the address that were not asked for."""
        return bool(self.only or self.pattern or self.tars)

    def find(self, root: Path, *, exclude: str, passed_over: Counter[str]) -> list[ImageRef]:
        """Return the images, in the order of keys.

        `root`: see ImageRef. `exclude`: the address of the output. `passed_over`: counts other files, by suffix.

        Raises:
            UsageError: there are none, or the address cannot be read.
        """
        try:
            output = "" if exclude.rstrip("/") == self.url.rstrip("/") else exclude.rstrip("/") + "/"  # or beside
            refs = list(self._refs(root, output, passed_over))
        except FileNotFoundError as error:
            raise UsageError(f"{self.url} is not there: is the name right?") from error
        except StorageError as error:
            raise UsageError(str(error)) from error
        if not refs:
            raise UsageError(f"no images in {self.url}")
        return sorted(refs, key=operator.attrgetter("key"))

    def _refs(self, root: Path, exclude: str, passed_over: Counter[str]) -> Iterator[ImageRef]:
        runs: set[str] = set()
        odd: list[str] = []
        refs = []
        start = self.url.rstrip("/") + "/"
        for entry, offset in self._files():
            name = entry.name
            if exclude and (start + name).startswith(exclude):
                continue
            if name.endswith("/" + _MARK):
                runs.add(name[: -len(_MARK)])
            if name.startswith(".") or "/." in name:
                if not _is_path(name):
                    odd.append(name)
            elif self.pattern is not None and not self.pattern.matches(name):
                continue
            elif not is_image_name(name):
                passed_over[suffix_of(name)] += 1
            elif not _is_path(name):
                odd.append(name)
            else:
                refs.append(ImageRef(root, name, entry.size, entry.version, offset))
        if odd:
            log.warning("passed over %d names that are no paths of files, the first is %r", len(odd), odd[0])
        prefixes = tuple(runs)
        return (ref for ref in refs if not ref.key.startswith(prefixes)) if prefixes else iter(refs)

    def _files(self) -> Iterator[tuple[Entry, int | None]]:
        """Yield the files with their names as keys; with the offset of those that lie in a tar file."""
        if self.tars:
            for folder, name in self.tars.items():
                for one in members(self.store, name):
                    yield Entry(f"{folder}/{one.name}", one.size, one.mtime_ns), one.offset
        elif self.only is not None:
            yield self.store.entry(self.only), None
        else:
            for entry in self.store.entries():
                yield entry, None

    def open(self, ref: ImageRef) -> BinaryIO:
        """Return the content of an image.

        Raises:
            ImageError: it is gone, has changed, or cannot be read after several tries.
        """
        if ref.size > _LARGEST:
            raise ImageError(f"its file has {ref.size} bytes; expected at most {_LARGEST}")
        try:
            if ref.offset is None:
                return io.BytesIO(self.store.get_whole(ref.key, ref.size))
            return io.BytesIO(self.store.get_whole(self._tar_of(ref.key), ref.size, ref.offset))
        except FileNotFoundError as error:
            raise ImageError(f"{self.store.shown(ref.key)} is gone") from error
        except StorageError as error:
            raise ImageError(str(error)) from TimeoutError()

    def _tar_of(self, key: str) -> str:
        """Return the tar file of an image: the deepest folder of its key that stands for one."""
        folder = key
        while folder not in self.tars:
            folder = folder.rpartition("/")[0]
        return self.tars[folder]


def _is_path(name: str) -> bool:
    """Return whether a name is a path that stays below its root on a file system."""
    return len(name) <= 4096 and "\0" not in name and {"", ".", ".."}.isdisjoint(name.split("/"))


def is_source(text: str) -> bool:
    """Return whether an argument names images that are no files: in a store, or in tar files."""
    return (is_store(text) and not text.startswith("file://")) or is_tar(text)


def open_source(arguments: Sequence[str], timeout: float) -> ImageSource:
    """Return the images that the arguments name: several tar files, or one URL.

    Raises:
        UsageError: tar files are mixed with others, there are several URLs, or a store cannot be reached.
    """
    if tars := [name for name in arguments if is_tar(name)]:
        if other := next((name for name in arguments if not is_tar(name)), None):
            raise UsageError(f"{other} beside tar files: give tar files alone, or images alone")
        return _open_tars(tars, timeout)
    if len(arguments) > 1:
        raise UsageError(f"{arguments[0]} and other inputs: give one URL, or a pattern")
    url = arguments[0].rstrip("/")
    if is_pattern(url):
        folder, parts = _split_pattern(url)
        return ImageSource(Store(folder, timeout), pattern=Pattern(parts))
    folder, _, name = url.rpartition("/")
    if is_image_name(name):
        return ImageSource(Store(folder, timeout), only=name)
    return ImageSource(Store(url, timeout))


def _split_pattern(url: str) -> tuple[str, tuple[str, ...]]:
    """Return the address in front of the first name with a special character, and the names from there on."""
    parts = url.split("/")
    first = next(index for index, part in enumerate(parts) if is_pattern(part))
    if first <= 3 and parts[0].endswith(":") and not parts[0].startswith("file") and first < 3:
        raise UsageError(f"{url}: the name of a bucket cannot be a pattern")
    return "/".join(parts[:first]), tuple(parts[first:])


def _open_tars(arguments: Sequence[str], timeout: float) -> ImageSource:
    urls = list(dict.fromkeys(url for one in arguments for url in _tars_of(absolute(one), timeout)))
    folders = [url.rpartition("/")[0].split("/") for url in urls]
    common = 0
    while all(len(one) > common and one[common] == folders[0][common] for one in folders):
        common += 1
    if common < 3:
        raise UsageError(
            f"{urls[0]} and {urls[-1]} have no folder in common: give tar files of one bucket or folder"
        )
    start = "/".join(folders[0][:common])
    names = [url[len(start) + 1 :] for url in urls]
    return ImageSource(Store(start, timeout), tars={folder_of_tar(name): name for name in names})


def _tars_of(url: str, timeout: float) -> list[str]:
    """Return the tar files that braces or a pattern stand for; the last name alone may be a pattern."""
    found: list[str] = []
    for one in expand_braces(url):
        folder, _, name = one.rpartition("/")
        if not is_pattern(name):
            found.append(one)
            continue
        try:
            entries = Store(folder, timeout).names("")
        except StorageError as error:
            raise UsageError(str(error)) from error
        pattern = Pattern((name,))
        found += sorted(f"{folder}/{entry.name}" for entry in entries if pattern.matches(entry.name))
    if not found:
        raise UsageError(f"{url} matches no tar file")
    return found
