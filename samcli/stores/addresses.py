"""Addresses of object stores: URLs such as `s3://bucket/photos`."""

from __future__ import annotations

import importlib.util
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from samcli.errors import UsageError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_PACKAGES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "az": "adlfs",
    "hf": "huggingface_hub",
    "file": "fsspec",
    "memory": "fsspec",
}
"""Scheme to the package that speaks its protocol; the extras of samcli have the names of the schemes."""
_SAME = {"s3a": "s3", "gcs": "gs", "abfs": "az"}

KNOWN = "s3://, gs://, az://, hf:// or file://"

_TAR = ".tar"
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_NAMES = 1_000_000


def is_address(text: str) -> bool:
    """Return whether a text is a URL."""
    return _URL.match(text) is not None


def is_store(text: str) -> bool:
    """Return whether a text is the URL of a kind of store that is known."""
    match = _URL.match(text)
    scheme = match[1].lower() if match else ""
    return _SAME.get(scheme, scheme) in _PACKAGES


def split_address(url: str) -> tuple[str, str]:
    """Return the scheme of a URL by its usual name, and what follows without a slash at the end.

    Raises:
        UsageError: no store of that scheme is known, its package is not installed, or the URL holds a secret.
    """
    match = _URL.match(url)
    scheme = match[1].lower() if match else ""
    scheme, rest = _SAME.get(scheme, scheme), match[2].rstrip("/") if match else ""
    if scheme not in _PACKAGES:
        raise UsageError(f"{scheme}:// URLs are not supported: give {KNOWN}, or download the files first")
    if "@" in rest.partition("/")[0] and scheme != "hf":
        raise UsageError(
            f"a {scheme}:// URL must not hold a user or a password: set the environment variables or the "
            "configuration file of the provider instead"
        )
    if not rest.strip("/"):
        raise UsageError(f"{scheme}:// lacks the name of a bucket, as in {scheme}://bucket/folder")
    if importlib.util.find_spec(_PACKAGES[scheme]) is None:
        raise UsageError(f"{scheme}:// needs the package {_PACKAGES[scheme]}: pip install 'samcli[{scheme}]'")
    return scheme, rest


def local_path(text: str) -> str:
    """Return the path that a `file://` URL names; any other text as it is."""
    return unquote(text[len("file://") :].removeprefix("localhost")) if text.startswith("file://") else text


def is_tar(text: str) -> bool:
    """Return whether a path, a pattern or a URL names tar files."""
    return text.lower().endswith(_TAR)


def folder_of_tar(path: str) -> str:
    """Return the folder that stands for a tar file in keys: its path without the suffix."""
    return path[: -len(_TAR)]


def expand_braces(text: str) -> list[str]:
    """Return the names that braces stand for: `{0000..0099}` numbers, `{a,b}` alternatives.

    Raises:
        UsageError: they stand for too many.
    """
    names = list(itertools.islice(_expanded(text), _MOST_NAMES + 1))
    if len(names) > _MOST_NAMES:
        raise UsageError(f"{text} stands for more than {_MOST_NAMES} files")
    return names


def _expanded(text: str) -> Iterator[str]:
    """Yield the names one by one: a few braces stand for more than the memory holds."""
    for match in _BRACES.finditer(text):
        if choices := _choices(match[1]):
            start, end = text[: match.start()], text[match.end() :]
            for choice in choices:
                for rest in _expanded(end):
                    yield f"{start}{choice}{rest}"
            return
    yield text


def _choices(inside: str) -> Sequence[str]:
    """Return what braces with this between them stand for; nothing where they stand for themselves."""
    if match := _RANGE.fullmatch(inside):
        first, last = int(match[1]), int(match[2])
        step = 1 if first <= last else -1
        width = len(match[1]) if match[1].startswith("0") else 0
        return [str(number).zfill(width) for number in range(first, last + step, step)[: _MOST_NAMES + 1]]
    return inside.split(",") if "," in inside else ()


def absolute(text: str) -> str:
    """Return a URL for a local path; any other URL as it is."""
    return text if is_address(text) else f"file://{Path(text).expanduser().absolute().as_posix()}"
