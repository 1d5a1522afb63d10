"""Detectors are built from what their pickle describes; nothing that the file names is called."""

from __future__ import annotations

import pickle
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Bomb
from torch import nn

from samcli.checkpoints.rebuilding import rebuild_network
from samcli.checkpoints.registry import WeightsFile
from samcli.detectors.ultralytics import load_detector
from samcli.errors import WeightsError
from samcli.images import read_image


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def theirs(path: Path) -> nn.Module:
    from ultralytics.nn.tasks import load_checkpoint

    return load_checkpoint(path)[0]


def plain(module: nn.Module) -> dict[str, Any]:
    passed = {"pt_path", "args", "training", "criterion"}
    return {k: v for k, v in vars(module).items() if not k.startswith("_") and k not in passed}


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize("file", ["tiny", "yolo_seg"])
def test_network__is_what_ultralytics_loads(file, yolo_seg) -> None:
    from samcli.checkpoints.registry import find_weights

    path = find_weights("tiny", "det").path if file == "tiny" else yolo_seg
    network, wanted = rebuild_network(path)[0], theirs(path)
    tensors, wanted_tensors = network.state_dict(), wanted.state_dict()
    assert tensors.keys() == wanted_tensors.keys()
    assert all(torch.equal(tensors[name], wanted_tensors[name]) for name in tensors)
    for (name, module), (_, other) in zip(network.named_modules(), wanted.named_modules(), strict=True):
        assert type(module) is type(other)
        assert plain(module).keys() == plain(other).keys(), name
        for key, value in plain(module).items():
            if isinstance(value, (bool, int, float, str, tuple, dict, set)):
                assert value == plain(other)[key], f"{name}.{key}"


@pytest.mark.usefixtures("no_sockets")
def test_detector__needs_no_network_while_it_is_loaded(yolo, photos) -> None:
    (found,) = load_detector(str(yolo), conf=0.1, imgsz=320).detect([read_image(photos[0])])
    assert len(found) > 0


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def attributes(path: Path, yolo: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a detector's file with something changed in its network."""
    content = torch.load(yolo, weights_only=False)
    change(content["model"])
    torch.save(content, path)
    return path


def set_attribute(name: str, value: Any) -> Callable[[Any], None]:
    return lambda network: network.model[0].__dict__.__setitem__(name, value)


def hook(network: Any) -> None:
    network.model[0]._forward_hooks[0] = print


def constructor_call(network: Any) -> None:
    from ultralytics.nn.modules.block import TorchVision

    network.model[0].__dict__["extra"] = Calls(TorchVision, 1000, "resnet18", "DEFAULT")


def layer_call(network: Any) -> None:
    network.model[0].__dict__["extra"] = Calls(nn.Linear, 3, 4)


def torchvision_layer(network: Any) -> None:
    from ultralytics.nn.modules.block import TorchVision

    network.model[0].__class__ = TorchVision


def other_layer(network: Any) -> None:
    network.model[0]._modules["extra"] = torch.nn.TransformerEncoderLayer(4, 2)


def other_class(network: Any) -> None:
    from ultralytics.nn.modules.head import Detect

    network.model[0].__dict__["extra"] = Detect.bias_init


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize(
    "change",
    [
        constructor_call, layer_call, torchvision_layer, other_layer, other_class, hook,
        set_attribute("forward", "text"), set_attribute("forward_fuse", None), set_attribute("_apply", 1),
        set_attribute("extra", Calls(torch.hub.load_state_dict_from_url, "http://127.0.0.1:9/x")),
        set_attribute("extra", Calls(torch.from_file, "trace", True, 8)),
        set_attribute("extra", b"bytes"), set_attribute("__class__", "text"), set_attribute("extra", torch.load),
    ],
)  # fmt: skip
def test_file__that_is_more_than_layers_and_tensors_is_refused(yolo, tmp_path, monkeypatch, change) -> None:
    monkeypatch.chdir(tmp_path)
    path = attributes(tmp_path / "changed.pt", yolo, change)
    with pytest.raises(WeightsError, match="was refused: it would run code") as caught:
        load_detector(WeightsFile(path, ""))
    assert "\n" not in str(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["changed.pt"]


@pytest.mark.parametrize("at", ["model", "ema", "optimizer"])
def test_code_anywhere_in_the_file__is_refused_and_not_run(yolo, tmp_path, at) -> None:
    content = torch.load(yolo, weights_only=False)
    torch.save({**content, at: Bomb(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match="would run code"):
        rebuild_network(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def repacked(path: Path, source: Path, compression: int, change: Callable[[str, bytes], bytes]) -> Path:
    """A copy of an archive, its entries changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return path


def test_damage__is_told_in_a_line(yolo, tmp_path) -> None:
    def shorten(name: str, data: bytes) -> bytes:
        return data[: len(data) // 2 // 8 * 8] if "/data/" in name else data

    short = repacked(tmp_path / "short.pt", yolo, zipfile.ZIP_STORED, shorten)
    with pytest.raises(WeightsError, match="a tensor is larger than what is stored of it"):
        rebuild_network(short)
    packed = repacked(tmp_path / "packed.pt", yolo, zipfile.ZIP_DEFLATED, lambda name, data: data)
    with pytest.raises(WeightsError, match="tensors are compressed"):
        rebuild_network(packed)


def test_module_in_itself__is_damage(yolo, tmp_path) -> None:
    def loop(network: Any) -> None:
        network.model._modules["again"] = network.model

    with pytest.raises(WeightsError, match="contains itself"):
        rebuild_network(attributes(tmp_path / "loop.pt", yolo, loop))


def test_pickle__that_asks_for_much_memory_gets_none(tmp_path) -> None:
    """In C, an index of the memo makes room for all below it: 32 GB here."""
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02Nr\xff\xff\xff\xff.")
    with pytest.raises(WeightsError, match="holds no network"):
        rebuild_network(tmp_path / "a.pt")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_file_with_flipped_bytes__loads_or_is_refused(yolo, tmp_path, seed) -> None:
    def flip(name: str, data: bytes) -> bytes:
        random = np.random.default_rng(seed)
        changed = bytearray(data)
        if name.endswith("data.pkl"):
            for at in random.integers(0, len(changed), 3):
                changed[at] = int(random.integers(256))
        return bytes(changed)

    path = repacked(tmp_path / "flipped.pt", yolo, zipfile.ZIP_STORED, flip)
    try:
        load_detector(WeightsFile(path, ""))
    except WeightsError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("loads", [pickle.dumps({"model": 1}), b"\x80\x04\x95"])
def test_bare_pickle__is_no_detector(tmp_path, loads) -> None:
    (tmp_path / "bare.pt").write_bytes(loads)
    with pytest.raises(WeightsError):
        rebuild_network(tmp_path / "bare.pt")
