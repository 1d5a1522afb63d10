"""Match image names in labels to images, by one order of rules for every format and command. One order of rules for
every format and command.

1. The name as it is, then with `\\` as `/`, then the path of an address (`https://host/a%20b.jpg?x=1`), decoded
   and without its query; each equal to a key, in Unicode's composed form.
2. The same, by the longest common tail: `/data/train/a/1.jpg` is `a/1.jpg` rather than `b/1.jpg`. Where other
   names are keys as they are, one of the two must be the tail of the other: `x/1.jpg` is not `y/1.jpg` then.
3. The same, without the eight digits that Label Studio puts before the names of uploaded files.

Two images that fit equally well, and two names that fit one image, are never guessed between. `#`, `?` and `%`
are parts of a name wherever an image has them.
"""

from __future__ import annotations

import functools
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from urllib.parse import parse_qs, unquote, urlsplit

_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class ImageNames:
    """The keys of a folder of images, to be found by what labels call them."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys: dict[str, list[str]] = {}
        for key in keys:
            self._keys.setdefault(_composed(key), []).append(key)

    def exact(self, name: str) -> list[str]:
        """Return the images whose keys the name is; several where they differ in Unicode's form alone."""
        for form in forms(name):
            found = self._keys.get(_composed(form), [])
            if len(found) > 1 and form in found:
                return [form]
            if found:
                return found
        return []

    def alike(self, name: str, *, whole: bool = False) -> list[str]:
        """Return the images that have the longest tail in common with the name; equally near ones alike.

        `whole`: the name, or the image's key, is that tail.
        """
        for form in (*forms(name), *_without_upload(name)):
            parts = _composed(form).split("/")
            near = self._by_base_name.get(parts[-1], [])
            if not near:
                continue
            others = [_composed(key).split("/") for key in near]
            common = [_common_tail(parts, other) for other in others]
            return [
                key
                for key, other, length in zip(near, others, common, strict=True)
                if length == max(common) and (not whole or length == min(len(parts), len(other)))
            ]
        return []

    def of_stem(self, stem: str) -> list[str]:
        """Return the images whose keys without suffix are `stem`."""
        return self._by_stem.get(_composed(stem), [])

    @cached_property
    def _by_base_name(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for composed, keys in self._keys.items():
            found.setdefault(composed.rpartition("/")[2], []).extend(keys)
        return found

    @cached_property
    def _by_stem(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for composed, keys in self._keys.items():
            found.setdefault(posixpath.splitext(composed)[0], []).extend(keys)
        return found


def matching_keys(ours: Sequence[str], theirs: Sequence[str], stem: Callable[[str], str]) -> dict[str, str]:
    """Match each of `ours` to one of `theirs`: the same, the same without suffix, or the longest common tail.

    What fits two of a side equally well is left out rather than guessed.
    """
    found: dict[str, str] = {}
    for short in (str, stem):
        found |= _pairs(ours, theirs, found, short, ImageNames.exact)
    near = functools.partial(ImageNames.alike, whole=bool(found))
    for short in (str, stem):
        found |= _pairs(ours, theirs, found, short, near)
    return found


def _pairs(
    ours: Sequence[str],
    theirs: Sequence[str],
    found: Mapping[str, str],
    short: Callable[[str], str],
    rule: Callable[[ImageNames, str], list[str]],
) -> dict[str, str]:
    """Return the remaining keys that fit exactly one key of the other side, and are its only fit."""
    mine = _by_short(set(ours) - found.keys(), short)
    others = _by_short(set(theirs) - {*found.values()}, short)
    names = ImageNames(others)
    single = {keys[0]: rule(names, name) for name, keys in mine.items() if len(keys) == 1}
    wanted = Counter(near[0] for near in single.values() if len(near) == 1)
    return {
        key: others[near[0]][0]
        for key, near in single.items()
        if len(near) == 1 and wanted[near[0]] == 1 and len(others[near[0]]) == 1
    }


def _by_short(keys: Iterable[str], short: Callable[[str], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key in sorted(keys):
        found.setdefault(short(key), []).append(key)
    return found


def forms(name: str) -> Iterator[str]:
    """Yield the paths that a name may stand for, the likeliest first."""
    yield _plain(name)
    slashed = name.replace("\\", "/")
    if slashed != name:
        yield _plain(slashed)
    if "local-files" in slashed and (below := parse_qs(urlsplit(slashed).query, errors="surrogateescape").get("d")):
        yield _plain(below[0])  # Label Studio's local storage
    elif _ADDRESS.match(slashed):
        yield unquote(urlsplit(slashed).path, errors="surrogateescape").strip("/")
    elif "%" in slashed:
        yield _plain(unquote(slashed, errors="surrogateescape"))
        yield _plain(unquote(slashed.partition("?")[0], errors="surrogateescape"))
    elif "?" in slashed:
        yield _plain(slashed.partition("?")[0])


def key_of_unseen(name: str) -> str:
    """Return the key of an image that is not at hand: the path in the name, or its last part where that leads out.

    Empty where the name names nothing.
    """
    *_, path = forms(name)
    if not _ADDRESS.match(name) and "local-files" not in name:
        path = _plain(name.replace("\\", "/"))
    parts = path.split("/")
    if path.startswith("/") or path[1:2] == ":" or ".." in parts or _ADDRESS.match(name):
        path = parts[-1]
    return "" if path in (".", "..") else path


def _plain(path: str) -> str:
    """Without `./` and doubled slashes, which mean nothing."""
    if "//" in path or path.startswith("./") or "/./" in path:
        root = "/" if path.startswith("/") else ""
        return root + "/".join(part for part in path.split("/") if part not in ("", "."))
    return path


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _without_upload(name: str) -> Iterator[str]:
    for form in forms(name):
        folder, slash, base = form.rpartition("/")
        if _UPLOAD.match(base):
            yield folder + slash + base[9:]


def _common_tail(first: list[str], second: list[str]) -> int:
    pairs = zip(reversed(first), reversed(second), strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
