"""Pickled networks are described without running anything that is in them."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from samcli.checkpoints.pickles import inspect_pickle, torchscript_facts
from samcli.errors import WeightsError

ASSETS = Path(__file__).parents[2] / "samcli" / "assets"


class Touches:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return (Path.touch, (self.path,))


def network(path: Path) -> torch.nn.Module:
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics(trust_weights=True)
    content = torch.load(path, weights_only=False)
    return content.get("ema") or content["model"]


@pytest.mark.parametrize("file", ["tiny", "yolo"])
def test_description__says_what_loading_the_file_would(file, yolo) -> None:
    path = ASSETS / "tiny_yolo.pt" if file == "tiny" else yolo
    found, loaded = inspect_pickle(path), network(path)
    assert found.network == "ultralytics.nn.tasks.DetectionModel"
    assert found.parameters == sum(weight.numel() for weight in loaded.parameters())
    assert sum(found.dtypes.values()) == len({id(tensor) for tensor in loaded.state_dict(keep_vars=True).values()})
    assert found.dtypes["float16"] == sum(t.dtype == torch.float16 for t in loaded.state_dict().values())
    assert found.names == dict(loaded.names)
    assert found.facts["task"] == "detect"
    assert found.unusual == ()


def test_average__goes_before_the_model_as_it_does_in_ultralytics(tmp_path) -> None:
    small, large = torch.nn.Linear(2, 3), torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.BatchNorm1d(30))
    torch.save({"model": small, "ema": large}, tmp_path / "last.pt")
    found = inspect_pickle(tmp_path / "last.pt")
    assert found.network == "torch.nn.modules.container.Sequential"
    assert found.parameters == 20 * 30 + 30 + 60, "what a norm counts is no parameter"
    assert found.dtypes == {"float32": 6, "int64": 1}


def test_tensor_that_is_shared__counts_once(tmp_path) -> None:
    first, second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    second.weight = first.weight
    torch.save({"model": torch.nn.Sequential(first, second, first)}, tmp_path / "tied.pt")
    assert inspect_pickle(tmp_path / "tied.pt").parameters == 16 + 4 + 4


def test_code_in_the_file__is_named_and_not_run(tmp_path) -> None:
    torch.save({"model": torch.nn.Linear(2, 3), "hook": Touches(tmp_path / "ran")}, tmp_path / "bad.pt")
    found = inspect_pickle(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()
    assert any("touch" in name or "getattr" in name for name in found.unusual)
    assert found.parameters == 9

    torch.load(tmp_path / "bad.pt", weights_only=False)
    assert (tmp_path / "ran").exists(), "the file must be able to do harm, or this test shows nothing"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code__is_not_run_in_any_protocol(tmp_path, protocol) -> None:
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as archive:
        archive.writestr("bad/data.pkl", pickle.dumps([Touches(tmp_path / "ran")], protocol))
    with pytest.raises(WeightsError, match="holds no network"):
        inspect_pickle(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x80\x02}q\x00.", "holds no network"),
        (b"\x80\x02", "cannot be looked into"),
        (b"not a pickle", "cannot be looked into"),
    ],
)
def test_pickle_without_a_network__is_an_error(tmp_path, content, reason) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", content)
    with pytest.raises(WeightsError, match=reason):
        inspect_pickle(tmp_path / "a.pt")


def test_other_files__are_errors(tmp_path) -> None:
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(WeightsError, match=r"text\.pt cannot be looked into"):
        inspect_pickle(tmp_path / "text.pt")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme", "text")
    with pytest.raises(WeightsError, match="archive without a network"):
        inspect_pickle(tmp_path / "a.zip")


def test_torchscript__tells_what_ultralytics_wrote_beside_it(tmp_path) -> None:
    path = tmp_path / "a.torchscript"
    config = json.dumps({"task": "detect", "names": {"0": "cat"}, "imgsz": [640, 640]})
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path, {"config.txt": config})
    assert torchscript_facts(path) == {"task": "detect", "names": {"0": "cat"}, "imgsz": [640, 640]}
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    assert torchscript_facts(path) == {}
    path.write_text("text")
    with pytest.raises(WeightsError, match="no TorchScript"):
        torchscript_facts(path)
