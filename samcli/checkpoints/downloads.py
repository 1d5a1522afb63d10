"""Download a file: over https, within bounds, checked before it has its name, and resumed where it broke off."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samcli.errors import DownloadError, WeightsError, one_line
from samcli.files import make_ordinary, storage_errors, write_atomic

Watch = Callable[[int, int | None], None]
"""Told of bytes done and, where it is known, of bytes in all."""

MOST_BYTES = 16 << 30
"""Of a download whose size is not known."""

_PATIENCE = 30.0
_SLOWEST = 1000
"""A download ends where nothing comes for so many seconds, or fewer bytes a second."""

_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)
_TAG = re.compile(r'"[\x21\x23-\x7e]{1,200}"|[A-Za-z]{3}, [A-Za-z0-9 :]{10,40} GMT')
"""A strong ETag, or a date: by these a server knows whether its file is still the one that was begun with."""


def download(url: str, target: Path, check: Callable[[Path], None], watch: Watch, most: int = MOST_BYTES) -> None:
    """Download a URL to `target`; a part that an earlier try left is completed if the server's file is the same.

    `check`: raises WeightsError where the whole file is not what it should be; then nothing of it is kept.

    Raises:
        DownloadError: no network, a server that gives less or more than it says, or an address that is not https.
        WeightsError: `check` refuses the file.
    """
    import filelock

    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target.with_name(f".samcli-{target.name}.part"))
    with filelock.FileLock(part.path.with_suffix(".lock")), storage_errors(target):
        if target.is_file():  # another process was quicker
            return
        try:
            _fetch(url, part, watch, most)
            check(part.path)
            part.path.replace(target)
            part.remove()
        except _NETWORK_ERRORS as error:
            if not part.can_be_resumed:
                part.remove()
            raise _failed(url, target, part, error) from error
        except WeightsError:
            part.remove()
            raise
        except BaseException:
            if not part.can_be_resumed:
                part.remove()
            raise


def _failed(url: str, target: Path, part: _Part, error: Exception) -> DownloadError:
    kept = f" {part.size} bytes are kept: run again to go on." if part.can_be_resumed else ""
    return DownloadError(
        f"cannot download {target.name} ({one_line(error)}).{kept} Put the file (from {url}) at {target}"
    )


@dataclass(frozen=True)
class _Part:
    """The beginning of a file, and beside it the tag by which its server knows the file."""

    path: Path

    @property
    def _tag_file(self) -> Path:
        return self.path.with_suffix(".tag")

    @property
    def size(self) -> int:
        """Return how many bytes have arrived."""
        return self.path.stat().st_size if self.path.is_file() and not self.path.is_symlink() else 0

    @property
    def tag(self) -> str | None:
        """Return the server's tag of the file; None where it gave none."""
        with contextlib.suppress(OSError, ValueError):
            found = _TAG.fullmatch(self._tag_file.read_bytes()[:500].decode("ascii"))
            return found[0] if found else None
        return None

    @property
    def can_be_resumed(self) -> bool:
        """Return whether something is there that a server can complete."""
        return bool(self.size and self.tag)

    def begin(self, headers: Any) -> None:
        """Forget what was there, and remember the tag of what comes."""
        self.remove()
        tag = headers.get("ETag") or headers.get("Last-Modified") or ""
        if _TAG.fullmatch(tag):
            write_atomic(self._tag_file, tag.encode("ascii"))

    def remove(self) -> None:
        """Remove both files."""
        self.path.unlink(missing_ok=True)
        self._tag_file.unlink(missing_ok=True)


def _fetch(url: str, part: _Part, watch: Watch, most: int) -> None:
    """Complete a part from its URL, or start over.

    Raises:
        ConnectionError: the body is cut short, longer than `most` bytes, or comes too slowly to ever end.
        URLError: the address, or one that it redirects to, is not https.
    """
    _check_address(url, url)
    with _opened(url, part) as response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            part.begin(response.headers)
        elif _first_byte(response.headers) != part.size:
            part.remove()
            raise ConnectionError("the server gives another part than was asked for; run again")
        total = _announced(response.headers, part.size)
        if total is not None and total > most:
            part.remove()
            raise ConnectionError(f"{total} bytes are announced, expected at most {most}")
        with part.path.open("ab") as file:
            make_ordinary(file.fileno())
            _copy(response, file, watch, most, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and part.size != total:
        raise ConnectionError(f"only {part.size} of {total} bytes arrived")


@contextlib.contextmanager
def _opened(url: str, part: _Part) -> Iterator[Any]:
    """Ask for what a part lacks, else for the whole; a server that cannot give the rest is asked for the whole."""
    headers = {"User-Agent": "samcli"}
    if part.can_be_resumed:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": str(part.tag)}
    else:
        part.remove()
    opener = urllib.request.build_opener(_SecureRedirects)
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or "Range" not in headers:
            raise
        error.close()
        part.remove()
        whole = urllib.request.Request(url, headers={"User-Agent": "samcli"})
        response = opener.open(whole, timeout=_PATIENCE)
    with response:
        yield response


def _announced(headers: Any, have: int) -> int | None:
    """Return how many bytes the whole file has, as the server says; None where it does not."""
    header = headers.get("Content-Length") or ""
    return have + int(header) if re.fullmatch(r"\d{1,18}", header) else None


def _first_byte(headers: Any) -> int | None:
    """Return where a partial body begins; None where the server does not say."""
    found = re.match(r"bytes (\d{1,18})-", headers.get("Content-Range") or "")
    return int(found[1]) if found else None


def _copy(response: Any, file: Any, watch: Watch, most: int, total: int | None) -> None:
    """Copy a body block by block."""
    size = start = file.tell()
    since, before = time.monotonic(), start
    while block := response.read1(1 << 20):
        size += len(block)
        if size > most:
            raise ConnectionError(f"more than {most} bytes arrived")
        file.write(block)
        if time.monotonic() - since > _PATIENCE:
            if size - before < _SLOWEST * _PATIENCE:
                raise ConnectionError(f"only {size - before} bytes arrived in {_PATIENCE:g} s")
            since, before = time.monotonic(), size
        watch(size, total)


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _check_address(newurl, req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str, begun_with: str) -> None:
    """Refuse addresses that anybody on the way could answer for; a server on this machine may do without https.

    Raises:
        URLError: it is such an address, or no address of the web at all.
    """
    if urllib.parse.urlsplit(url).scheme != "https" and not (_is_local(url) and _is_local(begun_with)):
        raise urllib.error.URLError(f"{url[:200]} is not https")


def _is_local(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
