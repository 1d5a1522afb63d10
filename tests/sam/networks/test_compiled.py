"""Compiled modules give what samcli's own forward gives; where they cannot be had, a run goes on without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from samcli.config import COMPILED_FROM, AutoAnnotateOptions
from samcli.jobs import segmenting
from samcli.sam.engine import Engine, load_sam
from samcli.sam.networks import compiled, load_network
from samcli.types import Image, ImageRef, Prompts

PIXELS = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
BOXES = np.array([[10, 10, 90, 80], [60, 20, 150, 110], [0, 0, 159, 119]], np.float32)


def compiling(path: Path) -> Engine:
    return Engine(
        replace(load_network(path), compiled=True), load_sam(str(path)).model, device="cpu", precision="fp32"
    )


def answers(engine: Engine) -> tuple[torch.Tensor, np.ndarray, list[float]]:
    """Features, logits and predicted IoU: of one prompt, then of more, all three masks."""
    (embedding,) = engine.encode([Image(ImageRef(Path(), "noise.png"), PIXELS)])
    found = [
        segment
        for boxes in (BOXES[:1], BOXES[1:])
        for segment in engine.segment(embedding, Prompts(boxes=boxes), multimask=True, return_logits=True)
    ]
    return (
        embedding.features,
        np.stack([segment.low_res_logits for segment in found]),
        [segment.predicted_iou for segment in found],
    )


def assert_same(found: Sequence[object], wanted: Sequence[object]) -> None:
    for one, other in zip(found, wanted, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert np.abs(one - other).max() <= 1e-5 * np.ptp(other)


@pytest.fixture(params=["small_sam", "small_sam2"])
def checkpoint(request) -> Path:
    return request.getfixturevalue(request.param)


@pytest.mark.slow
@pytest.mark.skipif(compiled.why_not_compile("cpu") is not None, reason="no C++ compiler")
def test_compiled__gives_the_same_in_fp32(checkpoint, caplog) -> None:
    wanted = answers(load_sam(str(checkpoint), device="cpu", precision="fp32"))
    engine = compiling(checkpoint)
    for _ in range(2):
        assert_same(answers(engine), wanted)
    assert [record.message for record in caplog.records if record.name == "samcli"] == [], "it was compiled"


def test_compiled__is_in_use(checkpoint, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(torch, "compile", lambda module: seen.append(module) or module)
    engine = compiling(checkpoint)
    wanted = answers(load_sam(str(checkpoint), device="cpu", precision="fp32"))
    assert not seen, "nothing is compiled unasked"
    assert_same(answers(engine), wanted)
    assert seen == [engine._network.image_encoder, engine._network.mask_decoder], "each once"


@pytest.mark.parametrize("late", [False, True])
def test_compiled__that_fails_warns_once_for_each_module_and_goes_on(checkpoint, monkeypatch, caplog, late) -> None:
    def broken(*_: object, **__: object) -> object:
        raise RuntimeError("no such operator\nand much more")

    monkeypatch.setattr(torch, "compile", (lambda _: broken) if late else broken)
    engine = compiling(checkpoint)
    wanted = answers(load_sam(str(checkpoint), device="cpu", precision="fp32"))
    for _ in range(2):
        assert_same(answers(engine), wanted)
    assert [record.message.partition(" (")[0] for record in caplog.records] == [
        "the image encoder cannot be compiled",
        "the mask decoder cannot be compiled",
    ]
    assert all("\n" not in record.message for record in caplog.records)


def test_compiled__leaves_a_full_memory_to_the_engine(small_sam, monkeypatch, caplog) -> None:
    def full(*_: object) -> object:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(torch, "compile", lambda _: full)
    with pytest.raises(torch.OutOfMemoryError):
        answers(compiling(small_sam))
    assert not caplog.records


@pytest.mark.parametrize(
    ("asked", "device", "images", "wanted"),
    [
        ("auto", "cpu", 10**6, False),
        ("auto", "cuda", COMPILED_FROM - 1, False),
        ("auto", "cuda", COMPILED_FROM, True),
        ("on", "cpu", 1, True),
        ("on", "cuda", 1, True),
        ("off", "cuda", 10**6, False),
    ],
)
@pytest.mark.parametrize("reason", [None, "there is no C++ compiler (g++)"])
def test_compile__is_decided_by_device_and_images_and_what_is_here(
    monkeypatch, caplog, asked, device, images, wanted, reason
) -> None:
    monkeypatch.setattr("samcli.sam.devices.choose_device", lambda _: torch.device(device))
    monkeypatch.setattr(compiled, "why_not_compile", lambda _: reason)
    assert segmenting.is_compiled(AutoAnnotateOptions.of(compile=asked), images) == (wanted and reason is None)
    told = [f"--compile on: {reason} here; going on without"] if reason and asked == "on" else []
    assert [record.message for record in caplog.records] == told


def test_compile__on_without_a_compiler_warns_and_writes_the_same_labels(
    annotate, photo_folder, monkeypatch, tmp_path
) -> None:
    labels, fingerprints = [], []
    monkeypatch.setenv("CXX", "no-such-compiler")
    for choice in ("off", "on"):
        result = annotate(photo_folder, "-o", tmp_path / choice, "--compile", choice, "--max-det", 3)
        assert result.exit_code == 0, result.output
        warned = "there is no C++ compiler (no-such-compiler)" in " ".join(result.output.split())
        assert warned == (choice == "on")
        labels.append([path.read_bytes() for path in sorted((tmp_path / choice).rglob("*.txt"))])
        fingerprints.append(json.loads((tmp_path / choice / ".samcli" / "run.json").read_text())["fingerprint"])
    assert labels[0] == labels[1] != []
    assert fingerprints[0] == fingerprints[1]
