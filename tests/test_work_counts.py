"""How much work each command does, in numbers that no machine changes: encoder calls, prompts decoded, masks
upsampled, bytes alive and copied, files opened and written. Time is measured elsewhere (`tests/benchmarks`); what
makes it grow is counted here, so that no regression slips in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import many
import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
import torch
from helpers import Run
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from samcli import files, masks
from samcli.config import MaskGeneratorOptions
from samcli.detectors.ultralytics import UltralyticsDetector
from samcli.jobs.auto_annotate import AutoAnnotate
from samcli.sam import engine as engine_module
from samcli.sam.engine import Engine, load_sam
from samcli.sam.mask_generator import everything
from samcli.sam.networks import fast_decoder
from samcli.sam.networks.sam import Sam
from samcli.types import Image, ImageRef, Prompts


@dataclass
class Work:
    """What was done so far, by name, and the predicted IoU of each mask that was decoded."""

    counts: Counter[str] = field(default_factory=Counter)
    quality: list[float] = field(default_factory=list)

    def __getitem__(self, name: str) -> int:
        return self.counts[name]


def count(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, note: Any) -> None:
    """Call `note` with the arguments and the result of each call of `owner.name`."""
    original = getattr(owner, name)

    def counted(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        note(arguments, result)
        return result

    monkeypatch.setattr(owner, name, counted)


@pytest.fixture
def work(monkeypatch) -> Work:
    """Counters at the seams: the networks, the engine's last step, the decoder of image files, the writer."""
    done = Work()

    def add(**numbers: int) -> None:
        done.counts.update({name.replace("_", " "): number for name, number in numbers.items()})

    def decoded(arguments: tuple[Any, ...], result: tuple[torch.Tensor, torch.Tensor]) -> None:
        add(decoder_calls=1, prompts_decoded=len(result[1]))
        done.quality.extend(result[1].flatten().tolist())

    count(monkeypatch, Sam, "encode", lambda given, _: add(encoder_calls=1, images_encoded=len(given[1])))
    count(monkeypatch, Sam, "decode", decoded)
    count(monkeypatch, fast_decoder, "_masks", lambda given, _: add(prompts_upscaled=len(given[1])))
    count(monkeypatch, Engine, "_finish", lambda given, _: add(masks_upsampled=len(given[2])))
    count(monkeypatch, engine_module, "_threshold", lambda given, _: add(masks_to_full_size=len(given[0])))
    count(monkeypatch, masks, "compress_counts", lambda *_: add(masks_run_length_encoded=1))
    seen = UltralyticsDetector
    count(monkeypatch, seen, "detect", lambda given, _: add(detector_calls=1, images_seen=len(given[1])))
    count(monkeypatch, files, "_write", lambda *_: add(files_written=1))
    count(monkeypatch, os, "fsync", lambda *_: add(flushed_to_disk=1))

    load = PIL.ImageFile.ImageFile.load

    def loaded(opened: PIL.ImageFile.ImageFile) -> Any:
        add(images_decoded=bool(opened.tile))  # none left: its pixels are there already
        return load(opened)

    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", loaded)
    return done


# auto-annotate


@pytest.mark.parametrize("batch", [1, 3])
def test_auto_annotate__every_image_is_decoded_and_encoded_once(annotate, photo_folder, work, batch) -> None:
    assert annotate(photo_folder, "--batch", batch).exit_code == 0
    assert work["images decoded"] == 4, "one decoding serves the detector and SAM"
    assert work["images encoded"] == work["images seen"] == 4
    assert work["encoder calls"] == 4, "on a CPU one by one: nothing is gained by more"
    assert work["detector calls"] == -(-4 // batch)


def test_auto_annotate__decodes_a_prompt_and_upsamples_a_mask_for_each_box(annotate, photo_folder, work) -> None:
    assert annotate(photo_folder, "--max-det", 5).exit_code == 0
    boxes = 4 * 5
    assert work["prompts decoded"] == work["masks upsampled"] == boxes
    assert work["decoder calls"] == 4, "the boxes of an image together"
    assert work["masks to full size"] <= boxes
    # Once by the engine, and once more where specks are removed for the labels.
    assert boxes <= work["masks run length encoded"] <= 2 * boxes


def test_auto_annotate__of_three_masks_only_the_chosen_is_encoded_once(annotate, photo_folder, work) -> None:
    assert annotate(photo_folder, "--max-det", 5, "--best-mask").exit_code == 0
    assert work["prompts decoded"] == 4 * 5
    assert work["masks upsampled"] == 3 * 4 * 5


def test_auto_annotate__an_image_without_objects_never_sees_sam(annotate, photo_folder, work) -> None:
    assert annotate(photo_folder, "--conf", 1).exit_code == 0
    assert work["images seen"] == 4
    assert work["images encoded"] == work["prompts decoded"] == work["masks upsampled"] == 0


def test_auto_annotate__writes_a_record_and_a_label_for_each_image(annotate, photo_folder, work) -> None:
    assert annotate(photo_folder).exit_code == 0
    of_the_run = 2  # run.json, data.yaml
    assert work["files written"] == 4 * 2 + of_the_run
    journal = 1  # once, at the end
    assert work["flushed to disk"] == 2 * work["files written"] + journal, "each file, and the folder it is in"


# everything


@pytest.fixture(scope="module")
def engine(small_sam: Path) -> Engine:
    return load_sam(str(small_sam), device="cpu", precision="fp32")


def noise(height: int, width: int) -> Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image(ImageRef(Path(), "noise.png"), pixels)


def middle(values: list[float]) -> float:
    return float(np.median(values))


def test_everything__upsamples_no_mask_that_its_predicted_iou_rules_out(engine, work) -> None:
    image, points = noise(120, 160), 8
    clicks = np.stack(np.meshgrid(np.linspace(5, 155, points), np.linspace(5, 115, points)), -1).reshape(-1, 1, 2)
    prompts = Prompts(points=clicks, point_labels=np.ones((points**2, 1)))
    engine.segment(engine.encode([image])[0], prompts, multimask=True)
    threshold = middle(np.reshape(work.quality, (-1, 3)).max(1).tolist())
    work.counts.clear(), work.quality.clear()
    options = MaskGeneratorOptions(points_per_side=points, pred_iou_thresh=threshold, stability_score_thresh=0.5)
    everything(engine, image, options)
    above = sum(quality > np.float32(threshold) for quality in work.quality)
    promising = np.sum(np.reshape(work.quality, (-1, 3)).max(1) > np.float32(threshold))
    assert work["encoder calls"] == 1
    assert work["prompts decoded"] == points**2
    assert work["decoder calls"] == 1, "64 points at once"
    assert 0 < above < len(work.quality) == 3 * points**2
    assert work["prompts upscaled"] == promising < points**2, "the others cost nothing after the transformer"
    assert work["masks upsampled"] == above
    assert work["masks to full size"] <= above


def test_everything__encodes_no_mask_that_its_stability_rules_out(engine, work, monkeypatch) -> None:
    seen: list[float] = []

    def thresholded(given: Any, result: Any) -> None:
        seen.extend(np.float32(one.counts[0]) / np.float32(one.counts[1]) for one in result)

    count(monkeypatch, engine_module, "_threshold", thresholded)
    image = noise(120, 160)
    loose = MaskGeneratorOptions(
        points_per_side=6, pred_iou_thresh=-1, stability_score_thresh=-1, stability_score_offset=0.01
    )
    everything(engine, image, loose)
    threshold = middle(seen)
    work.counts.clear(), seen.clear()
    everything(engine, image, replace(loose, stability_score_thresh=threshold))
    stable = sum(stability >= np.float32(threshold) for stability in seen)
    assert 0 < stable < work["masks upsampled"] == 3 * 36
    assert work["masks run length encoded"] == stable


def test_everything__encodes_the_image_and_each_crop_once(engine, work) -> None:
    options = MaskGeneratorOptions(points_per_side=4, crop_n_layers=1, crop_n_points_downscale_factor=2)
    everything(engine, noise(120, 160), options)
    assert work["images encoded"] == 1 + 4
    assert work["prompts decoded"] == 4**2 + 4 * 2**2


def test_everything__each_image_is_decoded_and_encoded_once(samcli_run, photo_folder, small_sam, work) -> None:
    options = ("--points-per-side", 3, "--precision", "fp32", "--pred-iou-thresh", 2)
    assert samcli_run("everything", photo_folder, "--sam", small_sam, *options).exit_code == 0
    assert work["images decoded"] == work["encoder calls"] == 4
    assert work["prompts decoded"] == 4 * 9
    assert work["prompts upscaled"] == work["masks upsampled"] == 0


# Memory and copies of the engine


class Traffic(TorchDispatchMode):
    """Bytes of tensors alive and copied inside it, whatever device or allocator they are from."""

    COPIES = ("copy_", "_to_copy", "clone")

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = self.copied = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        for tensor in (leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)):
            if name in self.COPIES:
                self.copied += tensor.numel() * tensor.element_size()
            self._watch(tensor)
        return result

    def _watch(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:  # a view, or the same changed in place
            return
        self._known.add(storage._cdata)
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, storage: int, size: int) -> None:
        self._known.discard(storage)
        self.alive -= size


def clicks(count: int, height: int, width: int) -> Prompts:
    points = np.random.default_rng(1).uniform(0, (width, height), (count, 1, 2))
    return Prompts(points=points, point_labels=np.ones((count, 1)))


def test_engine__holds_no_more_for_many_prompts_than_for_two_chunks_of_them(engine) -> None:
    """Two: what the masks are resized by is there from the second on."""
    (embedding,) = engine.encode([noise(60, 80)])
    engine.segment(embedding, clicks(1, 60, 80))  # now it is made
    peaks = []
    for prompts in (128, 320):
        with Traffic() as traffic:
            engine.segment(embedding, clicks(prompts, 60, 80), multimask=True)
        peaks.append(traffic.peak)
    assert peaks[0] == peaks[1]


def test_engine__holds_full_size_logits_of_a_strip_not_of_a_mask(engine, monkeypatch) -> None:
    monkeypatch.setattr(engine_module, "_WAITING_PIXELS", 1)
    image = noise(1800, 2000)
    (embedding,) = engine.encode([image])
    logits = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
    list(engine._finish(embedding, logits[:1], 1.0, 0.0))  # what they are resized by is made
    pixels = 1800 * 2000
    with torch.inference_mode(), Traffic() as traffic:
        assert len(list(engine._finish(embedding, logits, 1.0, 0.0))) == 3
    assert traffic.peak < logits.nbytes + 4 * pixels, (
        "one mask's pixels twice, but never its logits, of 4 bytes each"
    )


def test_engine__copies_the_logits_of_a_prompt_once_and_the_embedding_never(engine) -> None:
    (embedding,) = engine.encode([noise(60, 80)])
    copied = []
    for prompts in (8, 40):
        with Traffic() as traffic:
            engine.segment(embedding, clicks(prompts, 60, 80), multimask=True)
        copied.append(traffic.copied / prompts)
    logits = 3 * 64 * 64 * 4
    assert copied == pytest.approx([logits, logits], rel=0.01)
    assert max(copied) < embedding.features.nbytes


def test_engine__copies_an_image_no_more_often_than_it_must(engine) -> None:
    with Traffic() as traffic:
        engine.encode([noise(256, 256)])
    image = 3 * 256 * 256
    square = 4 * image  # float32
    assert traffic.copied <= image + 2 * square, "its bytes, the padding and the image into the square"


# Embeddings that are stored


def test_prompt__with_embeddings_needs_no_encoder(samcli_run, photo_folder, small_sam, work, tmp_path) -> None:
    common = ("--sam", small_sam, "--precision", "fp32")
    assert samcli_run("encode", photo_folder, "-o", tmp_path / "e", *common).exit_code == 0
    assert (work["images decoded"], work["encoder calls"], work["prompts decoded"]) == (4, 4, 0)
    work.counts.clear()
    prompts = ("--box", "10,10,90,80", "--box", "50,20,150,100", "--embeddings", tmp_path / "e")
    assert samcli_run("prompt", photo_folder, "-o", tmp_path / "p", *prompts, *common).exit_code == 0
    assert work["encoder calls"] == work["images encoded"] == 0
    assert work["images decoded"] == 0
    assert work["prompts decoded"] == work["masks upsampled"] == 4 * 2
    assert work["files written"] == 4 * 2 + 2


@pytest.mark.parametrize(
    ("more", "decoded", "encoded"),
    [((), 0, 0), (("--format", "overlay"), 4, 0), (("--crop-n-layers", 1, "--points-per-side", 2), 4, 16)],
)
def test_everything__with_embeddings_decodes_images_only_for_formats_and_crops_that_show_them(
    samcli_run, photo_folder, small_sam, work, tmp_path, more, decoded, encoded
) -> None:
    common = ("--sam", small_sam, "--precision", "fp32")
    assert samcli_run("encode", photo_folder, "-o", tmp_path / "e", *common).exit_code == 0
    work.counts.clear()
    options = ("--points-per-side", 2, "--pred-iou-thresh", 2, "--embeddings", tmp_path / "e", *more)
    assert samcli_run("everything", photo_folder, "-o", tmp_path / "o", *options, *common).exit_code == 0
    assert (work["images decoded"], work["images encoded"]) == (decoded, encoded)


# A run with nothing left to do


class Opened:
    """Files that were opened, to be read or written, and folders that were listed, below a folder."""

    def __init__(self, below: Path) -> None:
        self.read: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.listed: Counter[str] = Counter()
        self._below = f"{below}/"

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.listdir", "os.scandir") or isinstance(arguments[0], int):
            return
        path = os.path.normpath(os.fsdecode(arguments[0] or "."))
        if not f"{path}/".startswith(self._below):
            return
        name = path[len(self._below) :]
        if event != "open":
            self.listed[name] += 1
        else:
            (self.written if arguments[2] & (os.O_WRONLY | os.O_RDWR) else self.read)[name] += 1


_watching: list[Opened] = []


@pytest.fixture(scope="session")
def _audit() -> None:
    """Python's own hook: nothing that Python opens escapes it. It cannot be taken off again."""

    def see(event: str, arguments: tuple[Any, ...]) -> None:
        for opened in _watching:
            opened.see(event, arguments)

    sys.addaudithook(see)


@pytest.fixture
def opened(_audit: None, tmp_path: Path) -> Iterator[Opened]:
    """What is opened below the test's folder from here on."""
    _watching.append(Opened(tmp_path))
    yield _watching[-1]
    _watching.pop()


@pytest.fixture
def finished(annotate: Run, tmp_path: Path, photos: list[Path]) -> Any:
    """Make a finished run of so many images, and finish it once more: its status and standard error."""

    def make(images: int) -> Any:
        first = tmp_path / "images" / "000" / "0.jpg"
        if not first.exists():
            first.parent.mkdir(parents=True)
            PIL.Image.open(photos[0]).resize((81, 108)).save(first)
            assert annotate(tmp_path / "images").exit_code == 0
        many.multiply(tmp_path, images)
        return lambda *more: annotate(tmp_path / "images", "--json", *more)

    return make


def test_resume__of_a_finished_run_opens_journal_and_manifest_and_nothing_else(finished, opened, work) -> None:
    run = finished(30)
    opened.read.clear(), opened.written.clear(), opened.listed.clear(), work.counts.clear()
    result = run()
    assert (result.exit_code, json.loads(result.stdout)["skipped"]) == (0, 30), result.output
    assert set(opened.read) == {"labels/.samcli/journal.jsonl", "labels/.samcli/run.json"}
    assert opened.read["labels/.samcli/journal.jsonl"] == 1, "it may have a million lines"
    assert set(opened.written) == {"labels/.samcli/lock", "labels/.samcli/running"}
    assert not work.counts, "no network, no pixel, no file"


def test_resume__of_a_finished_run_loads_no_network(finished, monkeypatch) -> None:
    run = finished(3)
    monkeypatch.setattr(AutoAnnotate, "load", lambda *_: pytest.fail("a network was loaded"))
    assert run().exit_code == 0


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_resume__of_a_finished_run_does_without_pytorch(finished, tmp_path, yolo, small_sam, precision) -> None:
    finished(3)
    models = [
        "--det",
        str(yolo),
        "--sam",
        str(small_sam),
        "--precision",
        precision,
        "--max-det",
        "4",
        "--conf",
        "0.1",
    ]
    code = (
        "import sys\n"
        "from samcli.cli import app\n"
        f"try: app({['auto-annotate', str(tmp_path / 'images'), *models]!r})\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'torch', 'ultralytics'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"


def test_resume__looks_at_each_folder_not_at_each_file(finished, opened, monkeypatch) -> None:
    """Each list of a folder's names is asked for a fixed number of times, whatever the number of its files."""
    looks: Counter[str] = Counter()
    for name in ("stat", "lstat"):
        count(monkeypatch, os, name, lambda *_: looks.update(["looks"]))
    seen = []
    for images in (3, 60):
        run = finished(images)
        opened.listed.clear(), looks.clear()
        assert json.loads(run().stdout)["skipped"] == images
        seen.append((dict(opened.listed), looks["looks"]))
    assert seen[0] == seen[1]
    assert set(seen[0][0]) >= {"images/000", "labels/000", "labels/.samcli/records/000"}
    assert max(seen[0][0].values()) <= 2


def test_resume__of_a_run_that_lacks_one_image_does_that_one_alone(finished, work, tmp_path) -> None:
    run = finished(20)
    (tmp_path / "labels" / "000" / "7.txt").unlink()
    work.counts.clear()
    assert json.loads(run().stdout)["done"] == 1
    assert work["images decoded"] == work["images encoded"] == work["images seen"] == 1
    assert work["files written"] == 2
