"""Broken checkpoints are told apart before anything in them is read, in a line that says what to do."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from samcli.checkpoints.damage import what_is_wrong
from samcli.checkpoints.registry import WeightsFile
from samcli.detectors.ultralytics import load_detector
from samcli.errors import WeightsError
from samcli.sam.networks import read_checkpoint

TENSORS = {"a": torch.arange(3000.0)}
PAGE = b"\n<!DOCTYPE html><html><body>404</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n"


def saved(folder: Path, suffix: str, *, legacy: bool = False) -> bytes:
    path = folder / f"whole{suffix}"
    if suffix == ".safetensors":
        save_file(TENSORS, path)
    else:
        torch.save(TENSORS, path, _use_new_zipfile_serialization=not legacy)
    return path.read_bytes()


def zipped(folder: Path) -> bytes:
    with zipfile.ZipFile(folder / "other.zip", "w") as archive:
        archive.writestr("photo.jpg", "no network")
    return (folder / "other.zip").read_bytes()


def broken(kind: str, suffix: str, folder: Path) -> bytes:
    whole = saved(folder, suffix)
    half = len(whole) // 2
    return {
        "empty": b"",
        "web page": PAGE,
        "pointer": POINTER,
        "zeros": bytes(len(whole)),
        "truncated": whole[:half],
        "torn at once": whole[:9],
        "second half zeros": whole[:half] + bytes(len(whole) - half),
        "zip of other things": zipped(folder),
        "text": b"no network at all",
    }[kind]


@pytest.mark.parametrize(
    ("kind", "suffix", "reason"),
    [
        *((kind, suffix, reason) for suffix in (".pt", ".pth", ".safetensors") for kind, reason in (
            ("empty", "it is empty"),
            ("web page", "it is a web page"),
            ("pointer", "Git LFS"),
            ("zeros", "it begins with zeros"),
        )),
        ("truncated", ".pt", "its end is missing"),
        ("torn at once", ".pt", "its end is missing"),
        ("second half zeros", ".pt", "its end is missing or overwritten"),
        ("zip of other things", ".pth", "a zip archive of other things"),
        ("text", ".bin", "no file that torch.save wrote"),
        ("truncated", ".safetensors", "it has 6036 of 12072 bytes"),
        ("torn at once", ".safetensors", "fewer than its header alone needs"),
        ("text", ".safetensors", "fewer than its header alone needs"),
    ],
)  # fmt: skip
def test_broken_checkpoint__is_refused_with_the_reason_and_what_to_do(kind, suffix, reason, tmp_path) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(broken(kind, suffix, tmp_path))
    with pytest.raises(WeightsError) as error:
        read_checkpoint(path)
    assert str(error.value).startswith(f"{path} is damaged or no checkpoint: ")
    assert reason in str(error.value)
    assert str(error.value).endswith(". Download or copy it again")
    if suffix == ".pt":
        with pytest.raises(WeightsError, match="is damaged or no checkpoint: "):
            load_detector(WeightsFile(path, "0" * 64), conf=0.25, iou=0.5, imgsz=64, max_det=1, device="cpu")


def test_old_pickle__that_is_torn_is_called_damaged_too(tmp_path) -> None:
    """Its beginning tells nothing; what torch says of it may be as little as a number."""
    whole = saved(tmp_path, ".pt", legacy=True)
    (tmp_path / "torn.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"torn\.pt (is damaged or no checkpoint|was refused: it is damaged)"):
        read_checkpoint(tmp_path / "torn.pt")


@pytest.mark.parametrize(("suffix", "legacy"), [(".pt", False), (".pt", True), (".safetensors", False)])
def test_whole_checkpoint__is_no_damaged_one(suffix: str, legacy: bool, tmp_path: Path) -> None:
    saved(tmp_path, suffix, legacy=legacy)
    assert what_is_wrong(tmp_path / f"whole{suffix}") is None


def test_header_of_endless_brackets__is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "nested.safetensors"
    path.write_bytes((200_000).to_bytes(8, "little") + b"[" * 200_000)
    assert what_is_wrong(path) == "its header is no safetensors header"


def test_checkpoints_of_the_tests__are_whole(small_sam, small_sam2, yolo, yolo_seg) -> None:
    assert [what_is_wrong(path) for path in (small_sam, small_sam2, yolo, yolo_seg)] == [None] * 4
