"""Fixtures shared by the tests: checkpoints with seeded random weights, real photos, and the command line."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: workers share the cores
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import weights
from helpers import ODD_NAMES, Run
from hypothesis import settings

settings.register_profile("samcli", deadline=None, derandomize=True)  # the same examples everywhere, every time
settings.load_profile("samcli")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the tests' own: nothing is read from or written into the user's."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["SAMCLI_CACHE"] = str(folder)
    yield folder
    del os.environ["SAMCLI_CACHE"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--large", action="store_true", help="with -m network: also download the large checkpoints")


@pytest.fixture(scope="session", autouse=True)
def command_line_built_once() -> Iterator[None]:
    """Typer builds all commands anew for each call of its test runner, which takes longer than many tests."""
    import typer.testing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", functools.cache(typer.testing._get_command))
        yield


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of checkpoints; see the fixtures below for what is in it."""
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="session")
def small_sam(checkpoints: Path) -> Path:
    """A small ViT SAM for 256 pixels, random weights, in Meta's form."""
    return weights.save_sam_vit(checkpoints / "small_sam.pth")


@pytest.fixture(scope="session")
def small_sam2(checkpoints: Path) -> Path:
    """A small SAM 2.1 for 256 pixels, random weights."""
    return weights.save_sam2(checkpoints / "small_sam2.safetensors", image_size=256)


@pytest.fixture(scope="session")
def hugging_face_sam(checkpoints: Path, small_sam: Path) -> Path:
    """The weights of `small_sam` in a folder as transformers' `SamModel` saves them."""
    pytest.importorskip("transformers")
    return weights.save_sam_hugging_face(checkpoints / "hugging_face_sam", small_sam)


@pytest.fixture(scope="session")
def yolo(checkpoints: Path) -> Path:
    """YOLOv8n with random weights that finds cats, dogs and birds everywhere."""
    return weights.save_yolo(checkpoints / "yolo.pt")


@pytest.fixture(scope="session")
def yolo_seg(checkpoints: Path) -> Path:
    """YOLOv8n-seg with random weights, which gives its cats, dogs and birds masks."""
    return weights.save_yolo_seg(checkpoints / "yolo_seg.pt")


@pytest.fixture(scope="session")
def fastsam(checkpoints: Path) -> Path:
    """FastSAM's architecture, small, with random weights, for 320 pixels."""
    return weights.save_fastsam(checkpoints / "fastsam.pt")


@pytest.fixture(scope="session")
def photos(cache: Path) -> list[Path]:
    """The photos that ship in the ultralytics package."""
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.utils import ASSETS

    return [ASSETS / "bus.jpg", ASSETS / "zidane.jpg"]


@pytest.fixture
def photo_folder(tmp_path: Path, photos: list[Path]) -> Path:
    """`data/images` with four small photos of different sizes in two folders."""
    from PIL import Image

    folder = tmp_path / "data" / "images"
    (folder / "more").mkdir(parents=True)
    for name, photo, width in (("bus.jpg", 0, 320), ("zidane.jpg", 1, 300), ("more/bus.jpg", 0, 200)):
        opened = Image.open(photos[photo])
        opened.resize((width, width * opened.height // opened.width)).save(folder / name, quality=95)
    shutil.copy(folder / "zidane.jpg", folder / "more" / "copy.jpg")
    return folder


@pytest.fixture(scope="session")
def coco_photos() -> Path:
    """128 real photos beside the project, where they are present."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "coco128" / "images"
    if not folder.is_dir():
        pytest.skip("the 128 photos are not on this machine")
    return folder


@pytest.fixture
def samcli_run() -> Run:
    """Run the command line in this process: `samcli_run("status", folder)`; gives status, stdout and stderr."""
    from typer.testing import CliRunner

    from samcli.cli import app

    def run(*arguments: object) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def annotate(samcli_run: Run, yolo: Path, small_sam: Path) -> Run:
    """`samcli auto-annotate` with the random-weight models, exact arithmetic and few boxes."""

    def run(*arguments: object) -> Any:
        given = [str(argument) for argument in arguments]
        defaults = {"--det": yolo, "--sam": small_sam, "--precision": "fp32", "--max-det": 4, "--conf": 0.1}
        for name, value in defaults.items():
            if name not in given:
                given += [name, str(value)]
        return samcli_run("auto-annotate", *given)

    return run


@pytest.fixture(scope="session")
def finished_run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six images (one a TIFF, one empty, one broken, odd names), labelled by the tiny models.

    `images` and `labels`, the latter in the formats yolo, masks and overlay. Use the copy that `run_folder` gives.
    """
    from typer.testing import CliRunner

    from samcli.cli import app

    shapes = Path(__file__).parents[1] / "examples" / "shapes"
    folder = tmp_path_factory.mktemp("run")
    names = dict(zip(ODD_NAMES, ("beads.jpg", "grey.jpg", "tiles.webp"), strict=True))
    for name, source in {**names, "stones.tif": "stones.tif", "nothing.jpg": "nothing.jpg"}.items():
        target = folder / "images" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shapes / source, target)
    (folder / "images" / "broken.jpg").write_bytes(b"no image")
    formats = [word for name in ("yolo", "masks", "overlay") for word in ("--format", name)]
    models = ["--det", "tiny", "--sam", "tiny", "--precision", "fp32"]
    result = CliRunner().invoke(app, ["auto-annotate", str(folder / "images"), *models, *formats])
    assert result.exit_code == 3, result.output
    return folder


@pytest.fixture
def run_folder(finished_run: Path, tmp_path: Path) -> Path:
    """The test's own copy of `finished_run`."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))
