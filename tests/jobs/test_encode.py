"""`samcli encode`, and what reads its embeddings: the encoder never runs twice, and never a silent mix."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import iou
from PIL import Image as PillowImage
from safetensors import safe_open

from samcli.errors import UsageError
from samcli.images import find_images, read_image
from samcli.output.embeddings import Tiles, open_store, write_tiles
from samcli.output.records import read_record
from samcli.sam.engine import Engine, load_sam
from samcli.sam.networks.sam import Sam
from samcli.types import Embedding, ImageRef

COMMON = ("--precision", "fp32")


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """How many images went through an image encoder, call by call."""
    calls: list[int] = []
    encode = Engine._encode_together
    monkeypatch.setattr(
        Engine, "_encode_together", lambda self, images: calls.append(len(images)) or encode(self, images)
    )
    return calls


def store(samcli_run, folder: Path, sam: Path, out: Path, *more: object) -> Path:
    result = samcli_run("encode", folder, "-o", out, "--sam", sam, *COMMON, *more)
    assert result.exit_code == 0, result.output
    return out


def labels(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.txt")}


def test_embeddings__are_the_encoders_own(samcli_run, photo_folder, small_sam, tmp_path) -> None:
    out = store(samcli_run, photo_folder, small_sam, tmp_path / "e", "--dtype", "fp32", "--npy")
    engine = load_sam(str(small_sam), device="cpu", precision="fp32")
    read = open_store(str(out), engine.model, "fp32")
    for ref in find_images(photo_folder):
        (wanted,) = engine.encode([read_image(ref)])
        found = read.read(ref)
        assert found is not None
        assert (found.features == wanted.features).all()
        assert (found.image_size, found.input_size) == (wanted.image_size, wanted.input_size)
        array = np.load(out / Path(ref.key).with_suffix(".npy"))
        assert array.dtype == np.float32
        assert (array == wanted.features[None].numpy()).all()
    assert read.counts["read"] == 4


@pytest.mark.parametrize(("dtype", "least"), [("fp32", 1.0), ("fp16", 0.99)])
def test_stored_embeddings__spare_the_encoder_and_give_the_same_labels(
    samcli_run, annotate, photo_folder, small_sam, tmp_path, encoded, dtype, least
) -> None:
    store(samcli_run, photo_folder, small_sam, tmp_path / "e", "--dtype", dtype)
    annotate(photo_folder, "-o", tmp_path / "without")
    box = ("--box", "10,10,150,100", "--sam", small_sam, *COMMON)
    samcli_run("prompt", photo_folder, "-o", tmp_path / "prompt_without", *box)
    encoded.clear()
    assert annotate(photo_folder, "-o", tmp_path / "with", "--embeddings", tmp_path / "e").exit_code == 0
    with_store = ("--embeddings", tmp_path / "e")
    assert samcli_run("prompt", photo_folder, "-o", tmp_path / "prompt_with", *box, *with_store).exit_code == 0
    assert encoded == []
    for first, second in (("with", "without"), ("prompt_with", "prompt_without")):
        if dtype == "fp32":
            assert labels(tmp_path / first) == labels(tmp_path / second)
        for record in (tmp_path / first / ".samcli" / "records").rglob("*.json"):
            mine = read_record(record.read_bytes())
            theirs = read_record((tmp_path / second / record.relative_to(tmp_path / first)).read_bytes())
            for a, b in zip(mine.instances, theirs.instances, strict=True):
                assert iou(a.mask.pixels(), b.mask.pixels()) >= least


def test_stored_tiles__spare_the_encoder_and_give_the_same_labels(
    samcli_run, photo_folder, small_sam, tmp_path, encoded
) -> None:
    tiles = ("--tile", 96, "--tile-overlap", 0.3)
    out = store(samcli_run, photo_folder, small_sam, tmp_path / "e", "--dtype", "fp32", *tiles)
    assert (out / "more" / "copy.tiles").is_file()
    given = ("--box", "20,20,60,60", "--box", "5,5,150,100", "--sam", small_sam, *COMMON, *tiles)
    samcli_run("prompt", photo_folder, "-o", tmp_path / "without", *given)
    encoded.clear()
    result = samcli_run("prompt", photo_folder, "-o", tmp_path / "with", *given, "--embeddings", out)
    assert result.exit_code == 0, result.output
    assert (encoded, labels(tmp_path / "with")) == ([], labels(tmp_path / "without"))
    assert "Embeddings: 4 read; tiles: 4 read, 0 encoded again" in " ".join(result.output.split())

    (out / "bus.tiles").write_bytes((out / "bus.tiles").read_bytes()[:5000])  # torn
    (out / "zidane.tiles").unlink()
    result = samcli_run("prompt", photo_folder, "-o", tmp_path / "some", *given, "--embeddings", out)
    assert (encoded, labels(tmp_path / "some")) == ([1, 1], labels(tmp_path / "without"))


def test_tiles__of_an_image_that_is_taken_whole_are_none_and_bf16_keeps_its_bits(tmp_path) -> None:
    ref, boxes = ImageRef(tmp_path, "a.png", 7, 8), ((0, 0, 60, 50), (20, 0, 80, 50))
    embeddings = {
        box: Embedding(torch.randn(3, 4, 4), (50, 60), (40, 48), "m", (torch.randn(2, 8, 8),)) for box in boxes
    }
    for written in (boxes, ()):
        write_tiles(tmp_path / "a.tiles", Tiles(ref, (50, 80), written, "m"), embeddings.__getitem__, "bf16")
        with safe_open(tmp_path / "a.tiles", framework="pt") as file:
            assert len(file.keys()) == 2 * len(written)
            for number, box in enumerate(written):
                assert (file.get_tensor(f"{number}.features") == embeddings[box].features.bfloat16()).all()
                assert (file.get_tensor(f"{number}.high_res.0") == embeddings[box].high_res[0].bfloat16()).all()


def test_missing_and_stale__are_encoded_anew_to_the_same_result(
    samcli_run, photo_folder, small_sam, tmp_path, encoded
) -> None:
    box = ("--box", "10,10,150,100", "--sam", small_sam, *COMMON)
    store(samcli_run, photo_folder, small_sam, tmp_path / "e")
    samcli_run("prompt", photo_folder, "-o", tmp_path / "all", *box, "--embeddings", tmp_path / "e")
    (tmp_path / "e" / "bus.safetensors").unlink()
    torn = tmp_path / "e" / "zidane.safetensors"
    torn.write_bytes(torn.read_bytes()[:1000])
    os.utime(photo_folder / "more" / "bus.jpg", ns=(0, 0))
    encoded.clear()
    result = samcli_run("prompt", photo_folder, "-o", tmp_path / "some", *box, "--embeddings", tmp_path / "e")
    assert result.exit_code == 0
    assert encoded == [1, 1, 1]
    assert labels(tmp_path / "some") == labels(tmp_path / "all")


def test_image_larger_than_allowed__fails_though_its_embedding_is_there(
    samcli_run, photo_folder, small_sam, tmp_path
) -> None:
    store(samcli_run, photo_folder, small_sam, tmp_path / "e")
    with PillowImage.open(photo_folder / "bus.jpg") as largest:
        limit = largest.width * largest.height - 1
    box = ("--box", "10,10,90,80", "--sam", small_sam, *COMMON, "--max-pixels", limit)
    result = samcli_run(
        "prompt", photo_folder, "-o", tmp_path / "p", *box, "--embeddings", tmp_path / "e", "--json"
    )
    failures = json.loads(result.stdout)["failures"]
    assert list(failures) == ["bus.jpg"]
    assert f"more than --max-pixels {limit}" in failures["bus.jpg"]


def test_changed_image__is_not_given_its_old_embedding(
    samcli_run, photo_folder, small_sam, tmp_path, encoded
) -> None:
    store(samcli_run, photo_folder, small_sam, tmp_path / "e")
    PillowImage.open(photo_folder / "bus.jpg").rotate(180).save(photo_folder / "bus.jpg")
    encoded.clear()
    box = ("--box", "10,10,150,100", "--sam", small_sam, *COMMON)
    samcli_run("prompt", photo_folder / "bus.jpg", "-o", tmp_path / "p", *box, "--embeddings", tmp_path / "e")
    assert encoded == [1]


def test_embeddings_of_another_model__are_refused(samcli_run, photo_folder, small_sam, tmp_path) -> None:
    store(samcli_run, photo_folder, small_sam, tmp_path / "e")
    result = samcli_run(
        "prompt", photo_folder, "--box", "1,1,9,9", "--sam", "tiny", *COMMON, "--embeddings", tmp_path / "e"
    )
    assert result.exit_code == 2
    assert "another model" in result.stderr
    with pytest.raises(UsageError, match="holds no embeddings"):
        open_store(str(photo_folder), "x", "fp32")
    with pytest.raises(UsageError, match="made in fp32, this run is in bf16"):
        open_store(str(tmp_path / "e"), load_sam(str(small_sam)).model, "bf16")


def test_precision_auto__follows_the_stored_embeddings(samcli_run, photo_folder, small_sam, tmp_path) -> None:
    store(samcli_run, photo_folder, small_sam, tmp_path / "e")
    result = samcli_run(
        "prompt", photo_folder, "--box", "1,1,99,99", "--sam", small_sam, "-o", tmp_path / "p",
        "--embeddings", tmp_path / "e",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "p" / ".samcli" / "run.json").read_text())["recipe"]["precision"] == "fp32"


def test_encode__resumes_and_its_files_are_the_same_every_time(
    samcli_run, photo_folder, small_sam, tmp_path
) -> None:
    first = store(samcli_run, photo_folder, small_sam, tmp_path / "a")
    before = {path: path.read_bytes() for path in first.rglob("*.safetensors")}
    assert len(before) == 4
    (first / "bus.safetensors").unlink()
    result = samcli_run("encode", photo_folder, "-o", first, "--sam", small_sam, *COMMON, "--json")
    assert json.loads(result.stdout)["done"] == 1
    assert {path: path.read_bytes() for path in first.rglob("*.safetensors")} == before


def test_embedding_that_is_not_finite__fails_its_image(
    samcli_run, photo_folder, small_sam, tmp_path, monkeypatch
) -> None:
    encode = Sam.encode

    def broken(self, batch):
        features, finer = encode(self, batch)
        return features / 0, finer

    monkeypatch.setattr(Sam, "encode", broken)
    result = samcli_run("encode", photo_folder, "-o", tmp_path / "e", "--sam", small_sam, *COMMON)
    assert result.exit_code == 3
    assert "not finite" in result.stdout
    assert not list((tmp_path / "e").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("dtype", "flaw", "reason"),
    [
        ("fp16", ("features", 7e4), "too large for fp16; try --dtype fp32 or bf16"),
        ("fp16", ("high_res", 7e4), "too large for fp16; try --dtype fp32 or bf16"),
        ("bf16", ("features", 3.4e38), "too large for bf16; try --dtype fp32"),
        ("fp16", ("high_res", float("inf")), "not finite in fp32; try --precision fp32"),
        ("bf16", ("features", 7e4), None),
        ("fp32", ("high_res", 7e4), None),
    ],
)
def test_numbers_too_large_for_the_file__fail_their_image(
    samcli_run, photo_folder, small_sam, tmp_path, monkeypatch, dtype, flaw, reason
) -> None:
    encode, (place, value) = Engine._encode_together, flaw

    def large(self, images):
        extreme = torch.full((1, 2, 2), value)
        made = encode(self, images)
        if place == "features":
            return [replace(one, features=one.features.clone().fill_(value)) for one in made]
        return [replace(one, high_res=(extreme / 1e6, extreme)) for one in made]

    monkeypatch.setattr(Engine, "_encode_together", large)
    photo, out = photo_folder / "bus.jpg", tmp_path / "e"
    result = samcli_run("encode", photo, "-o", out, "--sam", small_sam, *COMMON, "--dtype", dtype)
    assert result.exit_code == (0 if reason is None else 3)
    assert (reason or "") in result.stdout
    assert len(list(out.glob("*.safetensors"))) == (reason is None)
