"""`samcli models`: the list, downloads, checks, and what a file holds. Downloads are of the test's own files."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from pathlib import Path

import pytest
import torch
import weights

from samcli.checkpoints.hub import HUB_MODELS
from samcli.checkpoints.registry import CHECKPOINTS, EMBEDDED, Checkpoint, find_weights
from samcli.errors import WeightsError
from samcli.models import describe_model, fetch_models, known_models, verify_models

CONTENT = b"a checkpoint's bytes " * 1000
OTHER = CONTENT[::-1]
SHA256, OTHER_SHA256 = (hashlib.sha256(content).hexdigest() for content in (CONTENT, OTHER))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMCLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two checkpoints on a server of this machine, one of them with a known hash, and one that is nowhere."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "good.pt").write_bytes(CONTENT)
    (tmp_path / "web" / "unpinned.pt").write_bytes(OTHER)
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "web"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    web = f"http://127.0.0.1:{server.server_port}/"
    checkpoints = [
        Checkpoint("good.pt", web + "good.pt", SHA256, bytes=len(CONTENT), parameters=1.5),
        Checkpoint("unpinned.pt", web + "unpinned.pt", role="det", licence="AGPL-3.0"),
        Checkpoint("nowhere.pt", web + "nowhere.pt"),
    ]
    table = {checkpoint.name: checkpoint for checkpoint in checkpoints}
    monkeypatch.setattr("samcli.checkpoints.registry.CHECKPOINTS", table)
    monkeypatch.setattr("samcli.models.CHECKPOINTS", table)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield
    server.shutdown()
    thread.join()
    server.server_close()


# The list


def test_list__holds_every_known_name_and_the_two_tiny_models() -> None:
    models = known_models()
    assert sorted(model.name for model in models) == sorted([*CHECKPOINTS, *HUB_MODELS, "tiny", "tiny"])
    assert [role for role, _ in groupby(model.role for model in models)] == [
        "sam", "fastsam", "det", "text",
    ]  # fmt: skip
    tiny = {model.role: model for model in models if model.name == "tiny"}
    assert all(model.here for model in tiny.values())
    assert (tiny["sam"].parameters, tiny["sam"].megabytes) == (2.9, 5.9)
    assert not any(model.here for model in models if model.name != "tiny")


@pytest.mark.usefixtures("known")
def test_list__says_what_is_here_and_where(samcli_run, own_cache) -> None:
    samcli_run("models", "fetch", "good.pt", "-q")
    models = {model["name"]: model for model in json.loads(samcli_run("models", "--json").stdout)}
    good = models["good.pt"]
    assert (good["here"], good["path"]) == (True, str(own_cache / "weights" / "good.pt"))
    assert (good["role"], good["parameters"], good["licence"]) == ("sam", 1.5, "Apache-2.0")
    assert not models["unpinned.pt"]["here"]
    assert models["unpinned.pt"]["megabytes"] is None


def test_list__has_a_name_of_its_own_too(samcli_run) -> None:
    for more in ([], ["--json"]):
        assert samcli_run("models", "list", *more).stdout == samcli_run("models", *more).stdout


def test_list__is_grouped_with_a_dash_for_what_is_not_known(samcli_run) -> None:
    lines = samcli_run("models").stdout.splitlines()
    groups = [line for line in lines if line.endswith(")")]
    assert [line.split(":")[0].split(" (")[0] for line in groups] == [
        "SAM", "FastSAM", "Detectors", "Detectors of torchvision", "Detectors that read text",
        "Folders of the Hugging Face hub",
    ]  # fmt: skip
    rows = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert rows["yolov8x.pt"] == ["yolov8x.pt", "137", "68.2", "AGPL-3.0", "Ultralytics"]
    assert rows["yolo26x.pt"] == ["yolo26x.pt", "-", "59.0", "AGPL-3.0", "Ultralytics"]
    assert rows["sam_vit_h_4b8939.pth"] == ["sam_vit_h_4b8939.pth", "2,565", "641", "Apache-2.0", "Meta"]
    assert rows["tiny"][-3:] == ["here", "AGPL-3.0-or-later", "samcli"]


@pytest.mark.parametrize("width", [38, 50, 70, 80, 200])
def test_list__fits_the_terminal_with_every_name_whole(samcli_run, monkeypatch, width) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = samcli_run("models").stdout.rstrip().splitlines()[:-1]  # the last is a sentence
    assert max(map(len, lines)) <= width
    names = {line.split()[0] for line in lines if line.strip()}
    assert names >= CHECKPOINTS.keys()
    assert "…" not in "".join(lines)
    assert ("Ultralytics" in "".join(lines)) == (width >= 80)


# Downloads


@pytest.mark.usefixtures("known")
def test_fetch__downloads_checks_and_prints_where(samcli_run, own_cache) -> None:
    result = samcli_run("models", "fetch", "good.pt", "unpinned.pt", "tiny")
    assert result.exit_code == 0
    paths = [Path(line) for line in result.stdout.splitlines()]
    assert paths[:2] == [own_cache / "weights" / "good.pt", own_cache / "weights" / "unpinned.pt"]
    assert [path.name for path in paths[2:]] == list(EMBEDDED.values())
    assert [path.read_bytes() for path in paths[:2]] == [CONTENT, OTHER]
    assert "downloading good.pt from http://127.0.0.1:" in result.stderr
    assert json.loads((own_cache / "pins.json").read_text()) == {"unpinned.pt": OTHER_SHA256}

    again = samcli_run("models", "fetch", "good.pt", "--json")
    assert json.loads(again.stdout) == [str(paths[0])]
    assert "downloading" not in again.stderr


@pytest.mark.usefixtures("known")
def test_fetch__tells_of_the_bytes_as_they_arrive() -> None:
    seen: list[tuple[str, int, int | None]] = []
    fetch_models(["good.pt"], watcher=lambda name: lambda done, total: seen.append((name, done, total)))
    assert seen[-1] == ("good.pt", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [("nowhere.pt", 1, "cannot download nowhere.pt"), ("god.pt", 2, "Did you mean 'good.pt'?")],
)
def test_fetch__that_cannot_be_done_is_one_line_that_says_what_to_do(
    samcli_run, own_cache, name, status, reason
) -> None:
    result = samcli_run("models", "fetch", "-q", name)
    assert (result.exit_code, result.stdout) == (status, "")
    assert reason in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    if name == "nowhere.pt":
        assert f"at {own_cache / 'weights' / 'nowhere.pt'}" in result.stderr


@pytest.mark.usefixtures("known")
def test_fetch__knows_all_names_before_the_first_download(own_cache) -> None:
    with pytest.raises(WeightsError, match="no known checkpoint"):
        fetch_models(["good.pt", "unheard-of.pt"])
    assert not own_cache.exists()


# Checks


@pytest.mark.usefixtures("known")
def test_verify__without_names_checks_all_that_is_here(samcli_run) -> None:
    samcli_run("models", "fetch", "good.pt", "unpinned.pt", "-q")
    result = samcli_run("models", "verify", "--json")
    assert result.exit_code == 0
    verdicts = {verdict["name"]: verdict for verdict in json.loads(result.stdout)}
    assert verdicts.keys() == {"tiny (sam)", "tiny (det)", "good.pt", "unpinned.pt"}
    assert {verdict["state"] for verdict in verdicts.values()} == {"whole"}
    assert verdicts["good.pt"]["sha256"] == SHA256
    assert "published" in verdicts["good.pt"]["reason"]
    assert "first download" in verdicts["unpinned.pt"]["reason"]


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("name", "sha256"), [("good.pt", SHA256), ("unpinned.pt", OTHER_SHA256)])
def test_verify__a_file_that_was_damaged_is_wrong_with_status_3(samcli_run, own_cache, name, sha256) -> None:
    samcli_run("models", "fetch", "good.pt", "unpinned.pt", "-q")
    (own_cache / "weights" / name).write_bytes(CONTENT[:-1] + b"!")
    for arguments in ([], [name], ["tiny", name]):
        result = samcli_run("models", "verify", *arguments)
        assert result.exit_code == 3
        (line,) = (line for line in result.stdout.splitlines() if not line.startswith("whole"))
        assert line.startswith(f"wrong   {name}: ")
        assert f"expected {sha256[:12]}" in line
        assert f"samcli models fetch {name}" in line


@pytest.mark.usefixtures("known")
def test_verify__a_known_name_that_is_not_here_is_missing_with_status_3(samcli_run) -> None:
    result = samcli_run("models", "verify", "good.pt")
    assert result.exit_code == 3
    assert result.stdout.startswith("missing good.pt")


@pytest.mark.usefixtures("known")
def test_verify__pins_nothing(own_cache) -> None:
    (own_cache / "weights").mkdir(parents=True)
    (own_cache / "weights" / "unpinned.pt").write_bytes(OTHER)
    (verdict,) = verify_models(["unpinned.pt"])
    assert (verdict.state, verdict.bad) == ("unknown", False)
    assert not (own_cache / "pins.json").exists()


@pytest.mark.usefixtures("known")
def test_verify__knows_a_file_by_its_content_or_else_by_its_name(tmp_path) -> None:
    same, other, mine = tmp_path / "renamed.pt", tmp_path / "good.pt", tmp_path / "mine.pt"
    same.write_bytes(CONTENT)
    other.write_bytes(b"other")
    mine.write_bytes(b"mine")
    verdicts = verify_models([str(same), str(other), str(mine)])
    assert [(verdict.name, verdict.state) for verdict in verdicts] == [
        ("good.pt", "whole"),
        ("good.pt", "wrong"),
        ("mine.pt", "unknown"),
    ]


def test_verify__a_damaged_tiny_model_is_wrong(samcli_run, monkeypatch) -> None:
    monkeypatch.setattr("samcli.checkpoints.registry.sha256_of", lambda path: "0" * 64)
    result = samcli_run("models", "verify", "tiny")
    assert result.exit_code == 3
    assert result.stdout.count("reinstall") == 2


# What a file holds


def test_info__of_a_sam_says_family_size_parameters_and_hash(samcli_run, small_sam) -> None:
    (facts,) = json.loads(samcli_run("models", "info", small_sam, "--json").stdout)
    tensors = torch.load(small_sam, weights_only=True)
    buffer = tensors["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"].numel()
    assert (facts["family"], facts["image_size"], facts["tensors"]) == ("sam-vit", 256, len(tensors))
    assert facts["parameters"] == sum(tensor.numel() for tensor in tensors.values()) - buffer
    assert facts["dtypes"] == {"float32": len(tensors)}
    assert facts["bytes"] == small_sam.stat().st_size
    assert facts["sha256"] == hashlib.sha256(small_sam.read_bytes()).hexdigest()
    assert (facts["known_as"], facts["files"], facts["notes"]) == (None, 1, [])


def test_info__tells_the_precision_of_the_file(small_sam, tmp_path) -> None:
    tensors = {name: value.half() for name, value in torch.load(small_sam, weights_only=True).items()}
    torch.save(tensors, tmp_path / "half.pth")
    assert describe_model(str(tmp_path / "half.pth"))[0].dtypes == {"float16": len(tensors)}


def test_info__of_a_folder_counts_its_files(hugging_face_sam, small_sam) -> None:
    (facts,), (meta,) = describe_model(str(hugging_face_sam)), describe_model(str(small_sam))
    assert (facts.family, facts.image_size, facts.parameters) == ("sam-vit", 256, meta.parameters)
    assert facts.sha256 == find_weights(str(hugging_face_sam), "sam").sha256
    assert facts.bytes == (hugging_face_sam / "model.safetensors").stat().st_size


def test_info__of_a_detector_runs_nothing_and_names_its_classes(yolo, samcli_run, monkeypatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise AssertionError("the file was unpickled")

    monkeypatch.setattr("pickle.loads", run)
    (facts,) = describe_model(str(yolo))
    assert facts.family == "ultralytics.nn.tasks.DetectionModel"
    assert facts.classes == {0: "cat", 1: "dog", 2: "bird"}
    assert facts.parameters == 3011433
    assert facts.image_size == 640
    text = samcli_run("models", "info", yolo).stdout
    assert "3: cat, dog, bird" in text
    assert facts.sha256 in text


def test_info__of_a_file_with_code_names_it_and_does_not_run_it(tmp_path) -> None:
    class Runs:
        def __reduce__(self) -> object:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": torch.nn.Linear(2, 3), "extra": Runs()}, tmp_path / "bad.pt")
    (facts,) = describe_model(str(tmp_path / "bad.pt"))
    assert not (tmp_path / "ran").exists()
    assert facts.family == "torch.nn.modules.linear.Linear"
    assert any("would also import" in note and "--trust-weights" in note for note in facts.notes)


def test_info__of_tiny_shows_the_card_of_both(samcli_run) -> None:
    sam, det = describe_model("tiny")
    assert (sam.known_as, sam.family, sam.image_size) == ("tiny (sam)", "sam-tinyvit", 768)
    assert (det.known_as, det.image_size, len(det.classes)) == ("tiny (det)", 512, 8)
    assert sam.parameters == 2935056
    text = samcli_run("models", "info", "tiny").stdout
    assert text.count("eight kinds of synthetic shape: for trying out and testing only") == 2
    assert "circle, ellipse, triangle" in text


def test_info__knows_a_copy_by_its_hash(tmp_path, monkeypatch, small_sam) -> None:
    shutil.copy(find_weights("tiny", "det").path, tmp_path / "renamed.pt")
    assert describe_model(str(tmp_path / "renamed.pt"))[0].known_as == "tiny (det)"
    sha256 = hashlib.sha256(small_sam.read_bytes()).hexdigest()
    table = {"published.pth": Checkpoint("published.pth", "https://x/published.pth", sha256)}
    monkeypatch.setattr("samcli.models.CHECKPOINTS", table)
    (facts,) = describe_model(str(small_sam))
    assert (facts.known_as, facts.details["licence"]) == ("published.pth", "Apache-2.0")


@pytest.mark.usefixtures("known")
def test_info__of_a_known_name_that_is_not_here_says_how_to_get_it(samcli_run) -> None:
    result = samcli_run("models", "info", "unpinned.pt")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "unpinned.pt (Meta, AGPL-3.0) is not here: samcli models fetch unpinned.pt" in result.stderr
    samcli_run("models", "fetch", "unpinned.pt", "-q")
    (facts,) = json.loads(samcli_run("models", "info", "unpinned.pt", "--json").stdout)
    assert (facts["known_as"], facts["family"], facts["sha256"]) == ("unpinned.pt", None, OTHER_SHA256)


def test_info__of_what_is_no_checkpoint_says_so(tmp_path) -> None:
    (tmp_path / "text.pt").write_text("text")
    (facts,) = describe_model(str(tmp_path / "text.pt"))
    assert (facts.family, facts.bytes) == (None, 4)
    assert "is damaged or no checkpoint: it is no file that torch.save wrote" in facts.notes[0]
    with pytest.raises(WeightsError, match=r"no known checkpoint: nothing\.pt"):
        describe_model("nothing.pt")


def test_info__of_other_tensors_says_that_they_are_no_sam(tmp_path) -> None:
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pth")
    (facts,) = describe_model(str(tmp_path / "other.pth"))
    assert (facts.family, facts.tensors, facts.dtypes) == (None, 1, {"float32": 1})
    assert "holds no SAM network" in facts.notes[0]


def test_info__of_exported_detectors_reads_what_ultralytics_wrote_into_them(tmp_path) -> None:
    facts = {"task": "detect", "names": "{0: 'cat', 1: 'dog'}", "imgsz": "[640, 640]"}
    config = json.dumps({**facts, "names": {"0": "cat", "1": "dog"}})
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "a.torchscript", {"config.txt": config})
    (script,) = describe_model(str(tmp_path / "a.torchscript"))
    assert (script.family, script.classes, script.details["task"]) == (
        "TorchScript program", {0: "cat", 1: "dog"}, "detect",
    )  # fmt: skip

    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph([], "empty", [], [])
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, tmp_path / "a.onnx")
    (exported,) = describe_model(str(tmp_path / "a.onnx"))
    assert (exported.family, exported.classes) == ("ONNX graph", {0: "cat", 1: "dog"})
    (tmp_path / "a.onnx").write_text("text")
    assert "no ONNX graph" in describe_model(str(tmp_path / "a.onnx"))[0].notes[0]


def test_info__of_mobile_sam_counts_what_meta_counts(tmp_path) -> None:
    (facts,) = describe_model(str(weights.save_mobile_sam(tmp_path / "mobile.pt")))
    assert (facts.family, facts.image_size) == ("sam-tinyvit", 1024)
    assert facts.parameters == pytest.approx(CHECKPOINTS["mobile_sam.pt"].parameters * 1e6, rel=0.01)
