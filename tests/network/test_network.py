"""Real checkpoints over a real network: `pytest -m network`, with `--large` also the large ones.

Each checkpoint is downloaded through samcli and its hash is checked; the four commands run on Ultralytics' sample
photos; boxes, classes and masks are compared with those of Ultralytics on the same weights. A table is printed at
the end. Without a network the same code runs against a server on this machine, with random weights under the same
names.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import weights

import samcli
from samcli.checkpoints import registry
from samcli.files import sha256_of

Run = Callable[..., Any]

SMALL = ("yolov8n.pt", "sam_b.pt", "mobile_sam.pt", "FastSAM-s.pt", "sam2.1_t.pt")
LARGE = ("yolov8x.pt", "sam_l.pt", "sam_vit_h_4b8939.pth", "FastSAM-x.pt", "sam2.1_l.pt")

LEAST_MASK_IOU = 0.95
"""Of masks with those of Ultralytics, on average: it resizes images in another way."""


@dataclass
class Report:
    """Rows of the table: model, what was compared, the figure."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, model: str, what: str, figure: object) -> None:
        self.rows.append((model, what, str(figure)))

    def text(self) -> str:
        widths = [max(len(row[place]) for row in self.rows) for place in range(2)]
        return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in self.rows)


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU (N, M) of boxes xyxy."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (first, second)]
    return common / (areas[0][:, None] + areas[1][None] - common)


def fetch(name: str, report: Report) -> Path:
    """Download a checkpoint, check its hash, and find it as `samcli models info` does."""
    found = registry.find_weights(name, registry.CHECKPOINTS[name].role)
    expected = registry.CHECKPOINTS[name].expected_sha256
    assert found.sha256 == sha256_of(found.path)
    assert expected in (None, found.sha256)
    report.add(name, "SHA-256", found.sha256[:16] + ("" if registry.CHECKPOINTS[name].sha256 else " (pinned)"))
    return found.path


def compare_detector(name: str, path: Path, photos: list[Path], report: Report) -> None:
    """Compare boxes and classes with Ultralytics' on the same photos."""
    from ultralytics import YOLO

    peer, own = YOLO(path), samcli.load_detector(name, device="cpu")
    for photo in photos:
        (theirs,) = peer.predict(photo, conf=0.25, iou=0.45, device="cpu", verbose=False)
        ours = own.detect(samcli.read_image(photo))
        boxes, classes = theirs.boxes.xyxy.numpy(), theirs.boxes.cls.numpy().astype(int)
        assert len(ours) == len(boxes) > 0, photo.name
        ious = box_iou(ours.boxes, boxes)
        nearest = ious.argmax(1)
        assert ious.max(1).min() > 0.95
        assert (classes[nearest] == ours.class_ids).all()
        report.add(
            name, f"{photo.name}: boxes as Ultralytics', least IoU", f"{len(boxes)}, {ious.max(1).min():.3f}"
        )


def compare_sam(name: str, path: Path, photos: list[Path], report: Report, least: float | None) -> None:
    """Compare masks of two boxes with Ultralytics' on the same photos.

    `least`: the mean IoU that they must reach; None for random weights, of whose masks Ultralytics may keep none.
    """
    from ultralytics import SAM

    peer, own = SAM(path), samcli.load_sam(name, device="cpu")
    for photo in photos:
        image = samcli.read_image(photo)
        height, width = image.image_size
        boxes = np.array([[0.05, 0.3, 0.35, 0.9], [0.3, 0.2, 0.9, 0.7]]) * (width, height, width, height)
        (theirs,) = peer.predict(photo, bboxes=boxes.tolist(), conf=0.0, device="cpu", verbose=False)
        (embedding,) = own.encode([image])
        ours = own.segment(embedding, boxes=boxes)
        masks = [one.mask.to_numpy() for one in ours]
        others = [] if theirs.masks is None else theirs.masks.data.numpy().astype(bool)
        ious = [max((mask & other).sum() / (mask | other).sum() for mask in masks) for other in others]
        assert least is None or (len(ious) == len(masks) and np.mean(ious) > least), (photo.name, ious)
        figure = f"{np.mean(ious):.3f}" if ious else "no masks"
        report.add(name, f"{photo.name}: mean mask IoU with Ultralytics'", figure)


def run_commands(run: Run, photos: Path, models: dict[str, str], out: Path, report: Report) -> None:
    """Run the four commands as a user would, and check what they write."""
    det, sam, fastsam = models["det"], models["sam"], models["fastsam"]
    commands = {
        "auto-annotate": ("--det", det, "--sam", sam),
        "prompt": ("--sam", sam, "--box", "20,30,200,300"),
        "everything": ("--sam", fastsam),
        "encode": ("--sam", sam),
    }
    for command, arguments in commands.items():
        result = run(command, photos, *arguments, "-o", out / command, "--json")
        assert result.exit_code == 0, (command, result.output)
        summary = json.loads(result.stdout)
        assert (summary["done"], summary["failed"]) == (2, 0), command
        report.add(
            command, "photos, objects, s", f"{summary['done']}, {summary['instances']}, {summary['seconds']:.1f}"
        )
    assert samcli.load_class_names(out / "auto-annotate")
    assert len(samcli.load_annotations(out / "auto-annotate")) == 2


@pytest.fixture
def sample_photos(photos: list[Path], tmp_path: Path) -> list[Path]:
    """Ultralytics' own photos, in a folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    copies = []
    for photo in photos[:2]:
        copies.append(folder / photo.name)
        copies[-1].write_bytes(photo.read_bytes())
    return copies


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache: each checkpoint is downloaded."""
    monkeypatch.setenv("SAMCLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.network
def test_real_checkpoints__give_what_ultralytics_gives(
    sample_photos: list[Path], samcli_run: Run, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    report = Report()
    names = SMALL + (LARGE if request.config.getoption("--large") else ())
    try:
        for name in names:
            path = fetch(name, report)
            role = registry.CHECKPOINTS[name].role
            if role == "det":
                compare_detector(name, path, sample_photos, report)
            elif role == "sam":
                compare_sam(name, path, sample_photos, report, LEAST_MASK_IOU)
        models = {"det": "yolov8n.pt", "sam": "mobile_sam.pt", "fastsam": "FastSAM-s.pt"}
        run_commands(samcli_run, sample_photos[0].parent, models, tmp_path / "out", report)
    finally:
        print(f"\n{report.text()}" if report.rows else "")


@pytest.fixture
def loopback(
    own_cache: Path, yolo: Path, fastsam: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """A server on this machine with random weights under the names of checkpoints; yields what was asked for."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "yolov8n.pt").symlink_to(yolo)
    (served / "FastSAM-s.pt").symlink_to(fastsam)
    weights.save_mobile_sam(served / "mobile_sam.pt")
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(served)))
    Thread(target=server.serve_forever, daemon=True).start()
    for file in served.iterdir():
        known = registry.CHECKPOINTS[file.name]
        url = f"http://127.0.0.1:{server.server_port}/{file.name}"
        mine = replace(known, url=url, sha256=sha256_of(file), bytes=file.stat().st_size)
        monkeypatch.setitem(registry.CHECKPOINTS, file.name, mine)
    yield asked
    server.shutdown()


@pytest.mark.slow
def test_loopback__runs_the_same_code(
    loopback: list[str], own_cache: Path, sample_photos: list[Path], samcli_run: Run, tmp_path: Path
) -> None:
    report = Report()
    compare_detector("yolov8n.pt", fetch("yolov8n.pt", report), sample_photos[:1], report)
    compare_sam("mobile_sam.pt", fetch("mobile_sam.pt", report), sample_photos[:1], report, least=None)
    fetch("FastSAM-s.pt", report)
    models = {"det": "yolov8n.pt", "sam": "mobile_sam.pt", "fastsam": "FastSAM-s.pt"}
    run_commands(samcli_run, sample_photos[0].parent, models, tmp_path / "out", report)
    assert sorted(loopback) == ["/FastSAM-s.pt", "/mobile_sam.pt", "/yolov8n.pt"], "each is downloaded once"
    assert len(report.rows) == 9
    assert "mean mask IoU" in report.text()


def test_download__of_another_content_is_refused(loopback: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(registry.CHECKPOINTS["FastSAM-s.pt"], sha256="0" * 64)
    monkeypatch.setitem(registry.CHECKPOINTS, "FastSAM-s.pt", wrong)
    with pytest.raises(samcli.SamcliError, match="SHA-256"):
        fetch("FastSAM-s.pt", Report())
