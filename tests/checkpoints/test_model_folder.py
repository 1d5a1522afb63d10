"""Folders of the transformers library: only data are read, and what they hold is their identity."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Bomb

from samcli.checkpoints import hub
from samcli.checkpoints.model_folder import folder_identity, read_model_folder
from samcli.checkpoints.registry import find_weights, is_here
from samcli.errors import DownloadError, UnknownModelError, WeightsError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from safetensors.torch import save_file

    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text(
        json.dumps({"model_type": "detr", "architectures": ["DetrForObjectDetection"]})
    )
    (made / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 96, "width": 96}}))
    save_file({"a": torch.zeros(2)}, made / "model.safetensors")
    return made


def change(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **entries}))


def test_folder__tells_its_kind(folder: Path) -> None:
    read = read_model_folder(folder)
    assert (read.model_type, read.architecture) == ("detr", "DetrForObjectDetection")


@pytest.mark.parametrize(
    "name", ["config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json"]
)
def test_a_folder_with_code__is_refused_before_anything_is_loaded(folder: Path, name: str) -> None:
    change(folder / name, auto_map={"AutoModel": "modeling.Model"})
    (folder / "modeling.py").write_text("raise SystemExit('ran')")
    with pytest.raises(WeightsError, match=rf"{name} names code of its own") as caught:
        read_model_folder(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_with_pickles_only__is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"a": Bomb(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin is a pickle; expected model\.safetensors"):
        read_model_folder(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", "[]", "expected a JSON object"),
        ("config.json", "{", "cannot be read"),
        ("config.json", "[" * 100_000, "cannot be read"),
        ("model.safetensors", "<html>", "web page"),
        ("adapter_config.json", "{}", "holds an adapter"),
    ],
)
def test_a_damaged_folder__is_refused_in_a_line(folder: Path, name: str, content: str, said: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(WeightsError, match=said) as caught:
        read_model_folder(folder)
    assert "\n" not in str(caught.value)


def test_identity__is_of_all_that_the_library_reads(folder: Path, tmp_path: Path) -> None:
    first = folder_identity(folder)
    assert find_weights(str(folder), "det").sha256 == first
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "README.md").write_text("words about it")
    assert folder_identity(copy) == first
    change(copy / "preprocessor_config.json", size={"height": 64, "width": 64})
    assert folder_identity(copy) != first


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("IDEA-Research/grounding-dino-tiny", True),
        ("facebook/sam2.1-hiera-tiny", True),
        ("facebook/sam3@main", True),
        ("weights/yolo.pt", False),
        ("./sam", False),
        ("a/b/c", False),
        ("/models/sam", False),
        ("sam_b.pt", False),
    ],
)
def test_hub_names__are_told_from_paths(name: str, is_one: bool) -> None:
    assert hub.is_hub_name(name) is is_one


def error_of(kind: str) -> Exception:
    httpx = pytest.importorskip("httpx")
    from huggingface_hub import errors

    request = httpx.Request("GET", "https://example.org")
    return getattr(errors, kind)("no", response=httpx.Response(404, request=request))


@pytest.mark.parametrize(
    ("kind", "expected", "said"),
    [
        ("GatedRepoError", WeightsError, "hf auth login"),
        ("RepositoryNotFoundError", UnknownModelError, "no such repository"),
        (None, DownloadError, "hf download a/b --local-dir"),
    ],
)
def test_errors_of_the_hub__name_the_next_step(monkeypatch, kind, expected, said: str) -> None:
    pytest.importorskip("huggingface_hub")
    error = error_of(kind) if kind else ConnectionError("no network")

    def fail(name: str, *, offline: bool) -> Path:
        raise error

    monkeypatch.setattr(hub, "_snapshot", fail)
    with pytest.raises(expected, match=said) as caught:
        hub.fetch_from_hub("a/b")
    assert "\n" not in str(caught.value)


def test_a_model_in_the_hubs_cache__is_here_without_a_network(monkeypatch, folder: Path) -> None:
    asked = []

    def snapshot(name: str, *, offline: bool) -> Path:
        asked.append(offline)
        return folder

    monkeypatch.setattr(hub, "_snapshot", snapshot)
    assert is_here("some/model")
    assert find_weights("some/model", "det").path == folder
    assert asked == [True, True]


def test_without_the_extra__the_error_names_it(folder: Path) -> None:
    code = (
        "import sys; sys.modules['transformers'] = None; sys.modules['huggingface_hub'] = None\n"
        "from samcli.errors import WeightsError\n"
        "from samcli.detectors.loading import load_detector\n"
        "for name in (sys.argv[1], 'some/model'):\n"
        "    try: load_detector(name, device='cpu')\n"
        "    except WeightsError as error: print(error)\n"
    )
    output = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    lines = output.stdout.strip().splitlines()
    assert len(lines) == 2 and all("pip install 'samcli[transformers]'" in line for line in lines)
