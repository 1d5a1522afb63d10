"""Detect damage of a checkpoint from its bytes, before anything in it is read.

Broken downloads and copies are common, and what the libraries say of them (`101`, `PytorchStreamReader
failed`) helps nobody.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import BinaryIO

from samcli.errors import WeightsError, one_line

_HEAD = 4096
_MOST_HEADER = 100_000_000  # what safetensors itself reads
_WEB = (b"<!doctype", b"<html", b"<head", b"<?xml")
_PICKLE = b"\x80"
_ZIP = b"PK\x03\x04"
_TAR = b"ustar"  # what torch wrote before 0.4
_TORCH = (".pt", ".pth", ".bin")


def check_undamaged(path: Path) -> None:
    """Refuse a checkpoint file that cannot be whole.

    Raises:
        WeightsError: it is damaged or another kind of file; says why, and what to do.
    """
    try:
        why = what_is_wrong(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {one_line(error)}") from error
    if why:
        raise WeightsError(f"{path} is damaged or no checkpoint: {why}. Download or copy it again")


def what_is_wrong(path: Path) -> str | None:
    """Why a file cannot be a whole checkpoint; None where nothing tells so."""
    with path.open("rb") as file:
        head, size = file.read(_HEAD), path.stat().st_size
        if not size:
            return "it is empty"
        if head.lstrip().lower().startswith(_WEB):
            return "it is a web page, maybe one that tells of an error"
        if head.startswith(b"version https://git-lfs"):
            return "it only points to a file that Git LFS holds (git lfs pull fetches it)"
        if not any(head):
            return "it begins with zeros, as a broken download or copy does"
        if path.suffix == ".safetensors":
            return _of_safetensors(file, size)
    if path.suffix in _TORCH:
        return _of_torch(path, head)
    return None


def _of_torch(path: Path, head: bytes) -> str | None:
    if head.startswith(_ZIP):
        try:
            with zipfile.ZipFile(path) as archive:
                pickled = any(name.endswith(".pkl") for name in archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError):
            return "its end is missing or overwritten"
        return None if pickled else "it is a zip archive of other things"
    if head.startswith(_PICKLE) or head[257:262] == _TAR:
        return None
    return "it is no file that torch.save wrote"


def _of_safetensors(file: BinaryIO, size: int) -> str | None:
    """Return the length of the header (8 bytes, little-endian), the header (JSON), the numbers."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > size - 8:
        return f"it has {size} bytes, fewer than its header alone needs"
    if length > _MOST_HEADER:
        return "its header is no safetensors header"
    try:
        header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return "its header is no safetensors header"
    return f"it has {size} of {expected} bytes" if size < expected else None
