"""From a checkpoint's name or path to a verified file.

A checkpoint is a value: where it comes from and what it must be. Where it lies on disk is derived.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from samcli.errors import WeightsError, nearest, one_line
from samcli.files import ordinary_mode, sha256_of, storage_errors, write_atomic

_ULTRALYTICS = "https://github.com/ultralytics/assets/releases/download/v8.4.0/"
_META = "https://dl.fbaipublicfiles.com/segment_anything/"

Report = Callable[[str], None]
"""Told, in one line, of what takes long or is worth knowing."""


@dataclass(frozen=True)
class Checkpoint:
    """A known checkpoint. `sha256` or `md5_start` may be unknown; then it is pinned at its first download."""

    name: str
    url: str
    sha256: str | None = None
    md5_start: str | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class WeightsFile:
    """A checkpoint on disk, and the SHA-256 that identifies its content.

    `path`: a file, or a folder that the transformers library saved a model in.
    """

    path: Path
    sha256: str


def _ultralytics(name: str, **known: str | int) -> Checkpoint:
    return Checkpoint(name, _ULTRALYTICS + name, **known)  # type: ignore[arg-type]


def _meta(name: str, sha256: str, size: int | None = None) -> Checkpoint:
    md5_start = name.rpartition("_")[2].partition(".")[0]  # Meta's file names end with it
    return Checkpoint(name, _META + name, sha256, md5_start, size)


_SAM = (
    _meta("sam_vit_b_01ec64.pth", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912", 375042383),
    _meta("sam_vit_l_0b3195.pth", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
    _meta("sam_vit_h_4b8939.pth", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
    _ultralytics("sam_b.pt"),
    _ultralytics("sam_l.pt"),
    _ultralytics(
        "mobile_sam.pt",
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        bytes=40728226,
    ),
)
_DETECTORS = tuple(
    _ultralytics(name)
    for name in [
        *(f"yolov5{size}u.pt" for size in "nsmlx"),
        *(f"yolov8{size}{task}.pt" for size in "nsmlx" for task in ("", "-seg")),
        *(f"yolov9{size}.pt" for size in "tsmce"),
        *(f"yolov10{size}.pt" for size in "nsmblx"),
        *(f"yolo11{size}{task}.pt" for size in "nsmlx" for task in ("", "-seg")),
        *(f"yolo12{size}.pt" for size in "nsmlx"),
        *(f"yolo26{size}{task}.pt" for size in "nsmlx" for task in ("", "-seg")),
        "rtdetr-l.pt",
        "rtdetr-x.pt",
    ]
)
CHECKPOINTS = {checkpoint.name: checkpoint for checkpoint in (*_SAM, *_DETECTORS)}

EMBEDDED = {"sam": "tiny_sam.safetensors", "det": "tiny_yolo.pt"}
"""What `tiny` stands for: files inside the package."""


_INDEX_SUFFIX = ".index.json"
_FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What transformers saves a model as, in the order in which it looks for one."""


def cache_folder() -> Path:
    """`$SAMCLI_CACHE`, else the user's cache folder."""
    if given := os.environ.get("SAMCLI_CACHE"):
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("samcli", appauthor=False))


def find_weights(name: str, role: str, report: Report = lambda line: None) -> WeightsFile:
    """The verified file of a checkpoint: `tiny`, a path, or a known name (downloaded at first use).

    `role`: `sam` or `det`, which tells the two tiny models apart.

    Raises:
        WeightsError: unknown name, no network, or a file that is not what its name promises.
    """
    if name == "tiny":
        return _embedded(role)
    path = Path(name).expanduser()
    if path.is_file() or path.is_dir():
        return WeightsFile(path, identity_of(path))
    checkpoint = _known(name)
    stored = cache_folder() / "weights" / name
    if not stored.is_file():
        _download(checkpoint, stored, report)
    return WeightsFile(stored, _verified(checkpoint, stored))


def checkpoint_files(path: Path) -> tuple[Path, ...]:
    """The files with the tensors of a checkpoint: itself, or those of a folder or index that transformers wrote.

    Raises:
        WeightsError: a folder without a checkpoint, or one of its files is missing.
    """
    if path.is_dir():
        here = [path / name for name in _FOLDER_FILES if (path / name).is_file()]
        if not here:
            raise WeightsError(f"the folder {path} holds no checkpoint; expected {_FOLDER_FILES[0]} in it")
        path = here[0]
    if not path.name.endswith(_INDEX_SUFFIX):
        return (path,)
    try:
        names = sorted({str(name) for name in json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is no index of a checkpoint in parts: {one_line(error)[:200]}") from error
    for name in names:
        if Path(name).name != name or not path.with_name(name).is_file():
            raise WeightsError(f"{path} names the file '{name}', which is not beside it")
    if not names:
        raise WeightsError(f"{path} names no file")
    return tuple(path.with_name(name) for name in names)


def identity_of(path: Path) -> str:
    """SHA-256 of a checkpoint's content: of its one file, or of the list of its files' names and SHA-256.

    A folder with one file has that file's: the same weights are the same model wherever they lie.

    Raises:
        WeightsError: a folder without a checkpoint, or one of its files is missing.
    """
    files = checkpoint_files(path)
    if len(files) == 1:
        return sha256_of(files[0])
    listing = "".join(f"{sha256_of(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def is_here(name: str) -> bool:
    """Whether `find_weights` would need no network.

    Raises:
        WeightsError: no file and no known checkpoint has that name.
    """
    path = Path(name).expanduser()
    if name == "tiny" or path.is_file() or path.is_dir():
        return True
    return (cache_folder() / "weights" / _known(name).name).is_file()


def _known(name: str) -> Checkpoint:
    if name not in CHECKPOINTS:
        raise WeightsError(
            f"no file {name}, and no checkpoint of that name is known.{nearest(name, [*CHECKPOINTS, 'tiny'])} "
            "`samcli checks` lists the known names."
        )
    return CHECKPOINTS[name]


def _embedded(role: str) -> WeightsFile:
    """A tiny model out of the package, copied into the cache where the package is zipped."""
    assets = resources.files("samcli") / "assets"
    name = EMBEDDED[role]
    card = json.loads((assets / "card.json").read_text(encoding="utf-8"))
    expected = card["sha256"][name]
    source = assets / name
    if isinstance(source, Path):
        path = source
    else:
        path = cache_folder() / "embedded" / f"{expected[:16]}-{name}"
        if not path.is_file():
            write_atomic(path, source.read_bytes())
    if (found := sha256_of(path)) != expected:
        raise WeightsError(
            f"the embedded {name} is damaged (SHA-256 {found[:12]}, expected {expected[:12]}): reinstall"
        )
    return WeightsFile(path, expected)


def _pins_file() -> Path:
    return cache_folder() / "pins.json"


def _pins() -> dict[str, str]:
    """SHA-256 by name of what was downloaded without a known hash."""
    try:
        pins: dict[str, str] = json.loads(_pins_file().read_text(encoding="utf-8"))
        return pins
    except (OSError, ValueError):
        return {}


def _verified(checkpoint: Checkpoint, path: Path) -> str:
    """The file's SHA-256, if it is the one that is known or was pinned.

    Raises:
        WeightsError: it is another.
    """
    found = sha256_of(path)
    expected = checkpoint.sha256 or _pins().get(checkpoint.name)
    if expected is None:
        write_atomic(_pins_file(), json.dumps({**_pins(), checkpoint.name: found}, indent=1).encode())
    elif found != expected:
        remedy = "Delete it to download it again."
        if checkpoint.sha256 is None:
            remedy += f" If its makers have published a new one, delete {_pins_file()} too."
        raise WeightsError(
            f"{path} is damaged or was exchanged: SHA-256 {found[:12]}..., expected {expected[:12]}.... {remedy}"
        )
    return found


def _download(checkpoint: Checkpoint, target: Path, report: Report) -> None:
    """Download to a temporary file, check it, then give it its name.

    Raises:
        WeightsError: no network, a short file, or another content than expected.
    """
    report(f"downloading {checkpoint.name} from {checkpoint.url}")
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".samcli-", suffix=".part")
    try:
        with storage_errors(target), os.fdopen(handle, "wb") as file:
            size, md5 = _fetch(checkpoint.url, file.write)
            file.flush()
            os.fchmod(file.fileno(), ordinary_mode())
            os.fsync(file.fileno())
        if checkpoint.bytes is not None and size != checkpoint.bytes:
            raise WeightsError(f"{checkpoint.name}: {size} bytes arrived, expected {checkpoint.bytes}. Try again.")
        if checkpoint.md5_start and not md5.startswith(checkpoint.md5_start):
            raise WeightsError(f"{checkpoint.name}: MD5 {md5[:6]}, expected {checkpoint.md5_start}. Try again.")
        if checkpoint.sha256 and (found := sha256_of(Path(temporary))) != checkpoint.sha256:
            raise WeightsError(
                f"{checkpoint.name}: SHA-256 {found[:12]}, expected {checkpoint.sha256[:12]}. Try again."
            )
        Path(temporary).replace(target)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise WeightsError(
            f"cannot download {checkpoint.name} ({one_line(error)}). "
            f"Put the file (from {checkpoint.url}) at {target}, or try without a network: --det tiny --sam tiny."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()


def _fetch(url: str, write: Callable[[bytes], object]) -> tuple[int, str]:
    """Read a URL block by block; the number of bytes and their MD5. A body cut short is an error."""
    size, md5 = 0, hashlib.md5(usedforsecurity=False)
    request = urllib.request.Request(url, headers={"User-Agent": "samcli"})
    with urllib.request.urlopen(request, timeout=30) as response:
        while block := response.read(1 << 20):
            write(block)
            md5.update(block)
            size += len(block)
        announced = response.headers.get("Content-Length")
    if announced and re.fullmatch(r"\d+", announced) and size != int(announced):
        raise ConnectionError(f"only {size} of {announced} bytes arrived")
    return size, md5.hexdigest()
