"""From a checkpoint's name or path to a verified file.

A checkpoint is a value: where it comes from and what it must be. Where it lies on disk is derived.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from samcli.checkpoints.downloads import MOST_BYTES, Watch, download
from samcli.checkpoints.hash_cache import remembered_sha256
from samcli.checkpoints.hub import fetch_from_hub, hub_folder, is_hub_name
from samcli.checkpoints.model_folder import CONFIG, folder_identity, is_model_folder, read_json_object
from samcli.errors import DownloadError, UnknownModelError, WeightsError, nearest, one_line
from samcli.files import sha256_of, write_atomic

_ULTRALYTICS = "https://github.com/ultralytics/assets/releases/download/v8.4.0/"
_PYTORCH = "https://download.pytorch.org/models/"
_META = "https://dl.fbaipublicfiles.com/segment_anything/"
_META_2 = "https://dl.fbaipublicfiles.com/segment_anything_2/"

Report = Callable[[str], None]
"""Told, in one line, of what takes long or is worth knowing."""


@dataclass(frozen=True)
class Checkpoint:
    """A known checkpoint. `sha256`, `md5_start` and `sha256_start` may be unknown; a file without any
    is pinned at its first download.

    `role`: `sam`, `det`, or `fastsam` (a detector of everything, in one class). `parameters`: in millions, of the
    network in the file. `megabytes`: of the file, in millions of bytes as its makers round it; `bytes` is exact
    and checked. `licence`: as the file's publisher states it, an SPDX identifier. None: not known for sure.
    """

    name: str
    url: str
    sha256: str | None = None
    md5_start: str | None = None
    bytes: int | None = None
    role: str = "sam"
    parameters: float | None = None
    megabytes: float | None = None
    licence: str = "Apache-2.0"
    sha256_start: str | None = None

    @property
    def size(self) -> float | None:
        """Size of the file in megabytes."""
        return round(self.bytes / 1e6, 1) if self.bytes else self.megabytes

    @property
    def publisher(self) -> str:
        """Return the publisher of the file."""
        if self.url.startswith(_PYTORCH):
            return "PyTorch"
        return "Ultralytics" if self.url.startswith(_ULTRALYTICS) else "Meta"

    @property
    def expected_sha256(self) -> str | None:
        """Return the SHA-256 that is known, or was pinned at the first download; None where neither is."""
        return self.sha256 or _pins().get(self.name)

    @property
    def stored(self) -> Path:
        """Return the path of the downloaded file in the cache."""
        return cache_folder() / "weights" / self.url.rpartition("/")[2]


@dataclass(frozen=True)
class WeightsFile:
    """A checkpoint on disk, and the SHA-256 that identifies its content.

    `path`: a file, or a folder that the transformers library saved a model in.
    """

    path: Path
    sha256: str


def _ultralytics(name: str, **known: str | float) -> Checkpoint:
    return Checkpoint(name, _ULTRALYTICS + name, **known)  # type: ignore[arg-type]


def _meta(name: str, sha256: str, size: int, parameters: float) -> Checkpoint:
    md5_start = name.rpartition("_")[2].partition(".")[0]  # Meta's file names end with it
    return Checkpoint(name, _META + name, sha256, md5_start, bytes=size, parameters=parameters)


def _meta_2(release: str, name: str, sha256: str, size: int, parameters: float) -> Checkpoint:
    return Checkpoint(name, f"{_META_2}{release}/{name}", sha256, bytes=size, parameters=parameters)


def _detectors(family: str, **facts: tuple[float, float | None]) -> Iterator[Checkpoint]:
    """`family`: file name with `{}` for the size. `facts`: by size, millions of parameters and megabytes."""
    for size, (parameters, megabytes) in facts.items():
        known = {"parameters": parameters, **({"megabytes": megabytes} if megabytes else {})}
        yield _ultralytics(family.format(size), role="det", licence="AGPL-3.0", **known)


def _torchvision(name: str, file: str, parameters: float, megabytes: float) -> Checkpoint:
    sha256_start = file.rpartition("-")[2].partition(".")[0]  # PyTorch's file names end with it
    return Checkpoint(
        name, _PYTORCH + file, sha256_start=sha256_start, role="det", parameters=parameters, megabytes=megabytes,
        licence="BSD-3-Clause",
    )  # fmt: skip


_SAM = (
    _meta(
        "sam_vit_b_01ec64.pth", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912", 375042383, 93.7
    ),
    _meta(
        "sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1249524607,
        312.3,
    ),
    _meta(
        "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2564550879,
        641.1,
    ),
    _ultralytics("sam_b.pt", parameters=93.7, megabytes=375),
    _ultralytics("sam_l.pt", parameters=312.3),
    _ultralytics(
        "mobile_sam.pt",
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        bytes=40728226,
        parameters=10.1,
    ),
)
# fmt: off
_SAM_2 = (
    _ultralytics("sam2_t.pt", parameters=38.9, megabytes=78.1),
    _ultralytics("sam2_s.pt", parameters=46.0),
    _ultralytics("sam2_b.pt", parameters=80.8, megabytes=162),
    _ultralytics("sam2_l.pt", parameters=224.4),
    _ultralytics("sam2.1_t.pt", parameters=38.9),
    _ultralytics("sam2.1_s.pt", parameters=46.0),
    _ultralytics("sam2.1_b.pt", parameters=80.8),
    _ultralytics("sam2.1_l.pt", parameters=224.4),
    _meta_2(
        "072824", "sam2_hiera_tiny.pt",
        "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125", 155906050, 38.9,
    ),
    _meta_2(
        "072824", "sam2_hiera_small.pt",
        "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3", 184309650, 46.0,
    ),
    _meta_2(
        "072824", "sam2_hiera_base_plus.pt",
        "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071", 323493298, 80.8,
    ),
    _meta_2(
        "072824", "sam2_hiera_large.pt",
        "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b", 897952466, 224.4,
    ),
    _meta_2(
        "092824", "sam2.1_hiera_tiny.pt",
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69", 156008466, 38.9,
    ),
    _meta_2(
        "092824", "sam2.1_hiera_small.pt",
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38", 184416285, 46.0,
    ),
    _meta_2(
        "092824", "sam2.1_hiera_base_plus.pt",
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5", 323606802, 80.8,
    ),
    _meta_2(
        "092824", "sam2.1_hiera_large.pt",
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318", 898083611, 224.4,
    ),
)
_FASTSAM = (
    _ultralytics("FastSAM-s.pt", role="fastsam", licence="AGPL-3.0", parameters=11.8, megabytes=23.9),
    _ultralytics("FastSAM-x.pt", role="fastsam", licence="AGPL-3.0", parameters=71.8, megabytes=145),
)
_DETECTORS = (
    *_detectors("yolov5{}u.pt", n=(2.7, None), s=(9.2, None), m=(25.1, None), l=(53.2, None), x=(97.3, None)),
    *_detectors("yolov8{}.pt", n=(3.2, 6.5), s=(11.2, 22.6), m=(25.9, 52.1), l=(43.7, 87.8), x=(68.2, 136.9)),
    *_detectors("yolov8{}-seg.pt", n=(3.4, 7.1), s=(11.8, 23.9), m=(27.3, 54.9), l=(46.0, 92.4), x=(71.8, 144.1)),
    *_detectors("yolov9{}.pt", t=(2.1, None), s=(7.3, None), m=(20.2, None), c=(25.6, None), e=(58.2, None)),
    *_detectors("yolov9{}-seg.pt", c=(27.9, None), e=(60.5, None)),
    *_detectors(
        "yolov10{}.pt",
        n=(2.8, None), s=(8.1, None), m=(16.6, None), b=(20.6, None), l=(25.9, None), x=(31.8, None),
    ),
    *_detectors("yolo11{}.pt", n=(2.6, 5.6), s=(9.5, 19.3), m=(20.1, 40.7), l=(25.4, 51.4), x=(57.0, 115)),
    *_detectors("yolo11{}-seg.pt", n=(2.9, 6.2), s=(10.1, 20.7), m=(22.4, 45.4), l=(27.7, 56.1), x=(62.1, 125.1)),
    *_detectors("yolo12{}.pt", n=(2.6, None), s=(9.3, None), m=(20.2, None), l=(26.5, None), x=(59.2, None)),
    *_detectors("yolo26{}.pt", n=(2.6, None), s=(10.0, None), m=(21.9, None), l=(26.3, None), x=(59.0, None)),
    *_detectors("yolo26{}-seg.pt", n=(3.1, None), s=(11.5, None), m=(27.1, None), l=(31.5, None), x=(70.7, None)),
    *_detectors("rtdetr-{}.pt", l=(33.0, None), x=(67.5, None)),
)
# fmt: on
_TORCHVISION = (
    _torchvision("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", 41.8, 167.5),
    _torchvision("fasterrcnn_resnet50_fpn_v2", "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth", 43.7, 175.2),
    _torchvision("fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth", 19.4, 77.8),
    _torchvision("maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", 44.4, 178.1),
    _torchvision("maskrcnn_resnet50_fpn_v2", "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth", 46.4, 185.8),
    _torchvision("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_coco-eeacb38b.pth", 34.0, 136.6),
    _torchvision("retinanet_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2_coco-5905b1c5.pth", 38.2, 153.1),
    _torchvision("fcos_resnet50_fpn", "fcos_resnet50_fpn_coco-99b0c9b7.pth", 32.3, 129.6),
    _torchvision("ssd300_vgg16", "ssd300_vgg16_coco-b556d3b4.pth", 35.6, 142.6),
    _torchvision("ssdlite320_mobilenet_v3_large", "ssdlite320_mobilenet_v3_large_coco-a79551df.pth", 3.4, 14.1),
)
CHECKPOINTS = {
    checkpoint.name: checkpoint for checkpoint in (*_SAM, *_SAM_2, *_FASTSAM, *_DETECTORS, *_TORCHVISION)
}
"""By name. Parameters are those of the published architectures, counted before layers are fused for inference (a
YOLOv10 or YOLO26 file holds a second head for training: Ultralytics' own tables count without it)."""

EMBEDDED = {"sam": "tiny_sam.safetensors", "det": "tiny_yolo.pt"}
"""What `tiny` stands for: files inside the package."""


_SIMILAR = 0.75
"""Similarity of a name that is suggested. Lower, and the suffix `.pt` alone would make two names similar."""

_INDEX_SUFFIX = ".index.json"
_FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What transformers saves a model as, in the order in which it looks for one."""

_BY_TENSORS = ("sam", "sam2", "sam2_video", None)
"""Model types of which only the tensors are read: the rest of their folders changes nothing."""


def cache_folder() -> Path:
    """`$SAMCLI_CACHE`, else the user's cache folder."""
    if given := os.environ.get("SAMCLI_CACHE"):
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("samcli", appauthor=False))


def find_weights(name: str, role: str, report: Report = lambda line: None) -> WeightsFile:
    """Return the verified file of a checkpoint: `tiny`, a path, a known name or a repository of the hub (downloaded
    at first use).

    `role`: `sam` or `det`, which tells the two tiny models apart.

    Raises:
        WeightsError: unknown name, no network, or a file that is not what its name promises.
    """
    if name == "tiny":
        return embedded_weights(role)
    path = Path(name).expanduser()
    if path.is_file() or path.is_dir():
        return WeightsFile(path, identity_of(path))
    if name not in CHECKPOINTS and is_hub_name(name):
        report(f"looking for {name} on the Hugging Face hub")
        path = hub_folder(name) or fetch_from_hub(name)
        return WeightsFile(path, identity_of(path))
    checkpoint = known_checkpoint(name, role)
    if {role, checkpoint.role} == {"sam", "det"}:
        kinds = {"sam": "a SAM", "det": "a detector"}
        raise UnknownModelError(
            f"{name} is {kinds[checkpoint.role]}; expected {kinds[role]}. `samcli models` lists both."
        )
    return fetch_weights(checkpoint, report)


def find_all_weights(checkpoints: Mapping[str, str], report: Report = lambda line: None) -> dict[str, WeightsFile]:
    """Return the files of a command's checkpoints, given by role; the role is also the option that names one.

    Raises:
        WeightsError: one of them cannot be had; says which options do without a network.
    """
    try:
        return {role: find_weights(name, role, report) for role, name in checkpoints.items()}
    except DownloadError as error:
        offline = " ".join(f"--{role} tiny" for role in checkpoints)
        raise DownloadError(f"{error}, or try without a network: {offline}") from error


def fetch_weights(
    checkpoint: Checkpoint, report: Report = lambda line: None, watch: Watch = lambda done, total: None
) -> WeightsFile:
    """Return the verified file of a known checkpoint, downloaded into the cache if it is not there.

    Raises:
        WeightsError: no network, or a file that is not what its name promises.
    """
    if not checkpoint.stored.is_file():
        _download(checkpoint, report, watch)
    return WeightsFile(checkpoint.stored, _verified(checkpoint, checkpoint.stored))


def checkpoint_files(path: Path) -> tuple[Path, ...]:
    """Return the files with the tensors of a checkpoint: itself, or those of a folder or index that transformers
    wrote.

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
    if (
        path.is_dir()
        and is_model_folder(path)
        and read_json_object(path / CONFIG).get("model_type") not in _BY_TENSORS
    ):
        return folder_identity(path, _sha256)
    files = checkpoint_files(path)
    if len(files) == 1:
        return _sha256(files[0])
    listing = "".join(f"{_sha256(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file, remembered in the cache folder."""
    return remembered_sha256(path, cache_folder() / "hashes.json")


def is_here(name: str) -> bool:
    """Return whether `find_weights` would need no network.

    Raises:
        WeightsError: no file and no known checkpoint has that name.
    """
    path = Path(name).expanduser()
    if name == "tiny" or path.is_file() or path.is_dir():
        return True
    if name not in CHECKPOINTS and is_hub_name(name):
        return hub_folder(name) is not None
    return known_checkpoint(name).stored.is_file()


def known_checkpoint(name: str, role: str | None = None) -> Checkpoint:
    """Return the known checkpoint of that name. `role`: a similar name of it is suggested first.

    Raises:
        WeightsError: there is none; the most similar known name is suggested, unless `name` is a path.
    """
    if name in CHECKPOINTS:
        return CHECKPOINTS[name]
    if _is_path(name):
        raise UnknownModelError(f"no such file: {name}")
    fitting = [one.name for one in CHECKPOINTS.values() if one.role == role]
    meant = nearest(name, [*fitting, "tiny"], _SIMILAR) or nearest(name, CHECKPOINTS, _SIMILAR)
    raise UnknownModelError(
        f"no such file, and no known checkpoint: {name}.{meant} `samcli models` lists the known names."
    )


def _is_path(name: str) -> bool:
    """Return whether a checkpoint is given as a path, such as `./best.pt` or `runs/best.pt`."""
    return name.startswith((".", "~")) or "/" in name or "\\" in name


def embedded_card() -> dict[str, Any]:
    """Return the card of the tiny models: hashes, architectures, figures."""
    file = resources.files("samcli") / "assets" / "card.json"
    card: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return card


def embedded_weights(role: str) -> WeightsFile:
    """Return a tiny model out of the package, copied into the cache where the package is zipped.

    Raises:
        WeightsError: the file is damaged.
    """
    assets = resources.files("samcli") / "assets"
    name = EMBEDDED[role]
    expected = embedded_card()["sha256"][name]
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
    """Return the file's SHA-256, if it is the one that is known or was pinned.

    Raises:
        WeightsError: it is another.
    """
    found = _sha256(path)
    expected = checkpoint.expected_sha256
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


def _download(checkpoint: Checkpoint, report: Report, watch: Watch) -> None:
    """Download a checkpoint to where it is stored.

    Raises:
        WeightsError: no network, a short file, or another content than expected.
    """
    report(f"downloading {checkpoint.name} from {checkpoint.url}")
    check = functools.partial(_check_content, checkpoint)
    download(checkpoint.url, checkpoint.stored, check, watch, checkpoint.bytes or MOST_BYTES)


def _check_content(checkpoint: Checkpoint, path: Path) -> None:
    """Hold a downloaded file against all that is known of it.

    Raises:
        WeightsError: it is another.
    """
    size = path.stat().st_size
    if checkpoint.bytes is not None and size != checkpoint.bytes:
        raise WeightsError(f"{checkpoint.name}: {size} bytes arrived, expected {checkpoint.bytes}. Try again.")
    start = checkpoint.md5_start
    if start and not (found := _md5(path)).startswith(start):
        raise WeightsError(f"{checkpoint.name}: MD5 {found[:6]}, expected {start}. Try again.")
    for expected in filter(None, (checkpoint.sha256_start, checkpoint.sha256)):
        if not (found := sha256_of(path)).startswith(expected):
            shown = slice(min(len(expected), 12))
            raise WeightsError(f"{checkpoint.name}: SHA-256 {found[shown]}, expected {expected[shown]}. Try again.")


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
