"""Weights: from a name or path to a verified file; downloads come from a server in this process."""

from __future__ import annotations

import contextlib
import hashlib
import json
import stat
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from samcli.checkpoints.registry import (
    CHECKPOINTS,
    EMBEDDED,
    Checkpoint,
    cache_folder,
    find_all_weights,
    find_weights,
    is_here,
)
from samcli.errors import DownloadError, WeightsError

CONTENT = b"a checkpoint's bytes " * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


REDIRECTS = {
    "to_http.pt": "http://192.0.2.1/good.pt", "to_file.pt": "file:///etc/passwd", "to_ftp.pt": "ftp://192.0.2.1/a.pt",
}  # fmt: skip


RESUMED = {
    "rest.pt": "rest",
    "whole.pt": "whole",
    "refused.pt": "refused",
    "other.pt": "other part",
    "untagged.pt": "whole",
}
"""What a server answers when it is asked for the rest."""


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT in the ways that a path asks for."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        kind = self.path.rpartition("/")[2]
        if kind == "missing.pt":
            self.send_error(404)
            return
        if kind == "garbage.pt":
            self.wfile.write(b"this is not HTTP\r\n\r\n")
            return
        if kind.startswith("to_"):
            self.send_response(302)
            self.send_header("Location", REDIRECTS[kind])
            self.end_headers()
            return
        if kind in RESUMED:
            self.resume(kind)
            return
        self.send_response(200)
        if kind == "endless.pt":
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(CONTENT)
        if kind == "slow.pt":
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            with contextlib.suppress(OSError):
                for byte in CONTENT[:200]:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.01)
            return
        if kind == "chunked.pt":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"ffff\r\nonly these bytes of the chunk")
            return
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if kind == "short.pt" else CONTENT)

    def resume(self, kind: str) -> None:
        """The first time half of the body; then what RESUMED says."""
        self.server.ranges.append((self.headers["Range"], self.headers["If-Range"]))  # type: ignore[attr-defined]
        half, whole = len(CONTENT) // 2, len(CONTENT)
        answer = RESUMED[kind] if len(self.server.ranges) == 2 else "whole"  # type: ignore[attr-defined]
        if answer == "refused":
            self.send_error(416)
            return
        begin = half if answer in ("rest", "other part") else 0
        self.send_response(206 if begin else 200)
        if begin:
            said = begin + (answer == "other part")
            self.send_header("Content-Range", f"bytes {said}-{whole - 1}/{whole}")
        if kind != "untagged.pt":
            self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(whole - begin))
        self.end_headers()
        is_first = len(self.server.ranges) == 1  # type: ignore[attr-defined]
        self.wfile.write(CONTENT[:half] if is_first else CONTENT[begin:])

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """On the loopback interface; `asked` lists the paths that were asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.ranges = [], []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of each test's own, and no proxy between it and the server."""
    monkeypatch.setenv("SAMCLI_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def known(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints on that server, by the names that the handler knows, and one with all that can be known."""
    address = f"http://127.0.0.1:{server.server_port}/"
    checkpoints = [
        Checkpoint("good.pt", address + "good.pt", SHA256, hashlib.md5(CONTENT).hexdigest()[:6], len(CONTENT)),
        Checkpoint("unpinned.pt", address + "unpinned.pt", role="det"),
        Checkpoint("other_sha.pt", address + "other_sha.pt", sha256="0" * 64),
        Checkpoint("other_md5.pt", address + "other_md5.pt", md5_start="000000"),
        Checkpoint("other_size.pt", address + "other_size.pt", bytes=len(CONTENT) + 1),
        *(
            Checkpoint(name, address + name)
            for name in ("short.pt", "chunked.pt", "missing.pt", "garbage.pt", "slow.pt", *REDIRECTS, *RESUMED)
        ),
        Checkpoint("endless.pt", address + "endless.pt", bytes=len(CONTENT)),
    ]
    monkeypatch.setattr(
        "samcli.checkpoints.registry.CHECKPOINTS", {checkpoint.name: checkpoint for checkpoint in checkpoints}
    )


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("to_http.pt", "http://192.0.2.1/good.pt is not https"),
        ("to_file.pt", "is not allowed|is not https"),
        ("to_ftp.pt", "is not https"),
        ("endless.pt", f"more than {len(CONTENT)} bytes arrived"),
        ("slow.pt", "bytes arrived in 0.1 s"),
    ],
)
def test_download__from_a_server_that_lies_ends_and_leaves_nothing(own_cache, monkeypatch, name, why) -> None:
    monkeypatch.setattr("samcli.checkpoints.downloads._PATIENCE", 0.1)
    with pytest.raises(DownloadError, match=why):
        find_weights(name, "sam")
    assert files_in(own_cache) == []


@pytest.mark.parametrize("url", ["http://example.org/a.pt", "file:///etc/passwd", "ftp://127.0.0.1/a", "data:,x"])
def test_download__takes_https_only(own_cache, url) -> None:
    from samcli.checkpoints.registry import fetch_weights

    with pytest.raises(DownloadError, match="is not https"):
        fetch_weights(Checkpoint("a.pt", url))
    assert files_in(own_cache) == []


def files_in(folder: Path) -> list[str]:
    """All but the locks that downloads leave."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(path.relative_to(folder).as_posix() for path in files)


# Downloads


@pytest.mark.usefixtures("known")
def test_download__is_checked_stored_and_not_repeated(server: ThreadingHTTPServer, own_cache: Path) -> None:
    said: list[str] = []
    assert not is_here("good.pt")
    found = find_weights("good.pt", "sam", said.append)
    assert found.path == own_cache / "weights" / "good.pt"
    assert found.path.read_bytes() == CONTENT
    assert (found.sha256, found.path.name) == (SHA256, "good.pt")
    assert said == [f"downloading good.pt from http://127.0.0.1:{server.server_port}/good.pt"]

    assert is_here("good.pt")
    assert find_weights("good.pt", "sam", said.append) == found
    assert len(said) == 1
    assert server.asked == ["/good.pt"]  # type: ignore[attr-defined]
    assert files_in(own_cache) == ["weights/good.pt"]


@pytest.mark.usefixtures("known")
def test_download__can_be_read_by_whom_the_umask_lets(own_cache: Path) -> None:
    find_weights("good.pt", "sam")
    ordinary = own_cache / "ordinary"
    ordinary.write_bytes(b"")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (ordinary, own_cache / "weights" / "good.pt")}
    assert len(modes) == 1


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("other_sha.pt", f"SHA-256 {SHA256[:12]}, expected 000000000000"),
        ("other_md5.pt", "MD5 .*, expected 000000"),
        ("other_size.pt", f"{len(CONTENT)} bytes arrived, expected {len(CONTENT) + 1}"),
        ("short.pt", f"only {len(CONTENT) // 2} of {len(CONTENT)} bytes arrived|IncompleteRead"),
        ("chunked.pt", "IncompleteRead"),
        ("missing.pt", "404"),
        ("garbage.pt", "this is not HTTP"),
    ],
)
def test_download__that_is_not_what_was_promised_is_an_error_and_leaves_nothing(
    own_cache: Path, name: str, reason: str
) -> None:
    with pytest.raises(WeightsError, match=reason) as caught:
        find_weights(name, "sam")
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_in(own_cache) == []


@pytest.mark.usefixtures("known")
def test_download__without_a_network_says_which_file_to_put_where_and_names_tiny(
    server: ThreadingHTTPServer, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    with socket.socket() as unused:  # bound, so nobody else listens there; not listening, so it refuses
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/sam_b.pt"
        monkeypatch.setattr(
            "samcli.checkpoints.registry.CHECKPOINTS", {"sam_b.pt": Checkpoint("sam_b.pt", address)}
        )
        with pytest.raises(WeightsError) as caught:
            find_all_weights({"sam": "sam_b.pt"})
    message = str(caught.value)
    assert "cannot download sam_b.pt" in message
    assert address in message
    assert str(own_cache / "weights" / "sam_b.pt") in message
    assert message.endswith("try without a network: --sam tiny"), "the options of a command without a detector"
    assert files_in(own_cache) == []


@pytest.mark.usefixtures("known")
def test_download__an_interrupt_leaves_nothing(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("samcli.checkpoints.downloads._fetch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        find_weights("good.pt", "sam")
    assert files_in(own_cache) == []


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("name", "requests"), [("rest.pt", 2), ("whole.pt", 2), ("refused.pt", 3)])
def test_download__that_broke_off_goes_on_where_the_file_is_still_the_same(
    server: ThreadingHTTPServer, own_cache: Path, name: str, requests: int
) -> None:
    half = len(CONTENT) // 2
    with pytest.raises(DownloadError, match=f"{half} bytes are kept: run again to go on"):
        find_weights(name, "sam")
    assert files_in(own_cache) == [f"weights/.samcli-{name}.part", f"weights/.samcli-{name}.tag"]
    assert find_weights(name, "sam").sha256 == SHA256
    ranges = [(None, None), (f"bytes={half}-", '"1"'), (None, None)]
    assert server.ranges == ranges[:requests]  # type: ignore[attr-defined]
    assert files_in(own_cache) == ["pins.json", f"weights/{name}"]


@pytest.mark.usefixtures("known")
def test_download__of_another_part_than_was_asked_for_is_not_used(own_cache: Path) -> None:
    with pytest.raises(DownloadError):
        find_weights("other.pt", "sam")
    with pytest.raises(DownloadError, match="the server gives another part than was asked for"):
        find_weights("other.pt", "sam")
    assert files_in(own_cache) == []
    assert find_weights("other.pt", "sam").sha256 == SHA256


@pytest.mark.usefixtures("known")
def test_download__without_a_tag_begins_anew(server: ThreadingHTTPServer, own_cache: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        find_weights("untagged.pt", "sam")
    assert "kept" not in str(caught.value)
    assert files_in(own_cache) == []
    assert find_weights("untagged.pt", "sam").sha256 == SHA256
    assert server.ranges == [(None, None)] * 2  # type: ignore[attr-defined]


@pytest.mark.usefixtures("known")
def test_file_put_by_hand__is_taken_where_the_message_said(server: ThreadingHTTPServer, own_cache: Path) -> None:
    (own_cache / "weights").mkdir(parents=True)
    (own_cache / "weights" / "good.pt").write_bytes(CONTENT)
    assert find_weights("good.pt", "sam").sha256 == SHA256
    assert server.asked == []  # type: ignore[attr-defined]


@pytest.mark.usefixtures("known")
def test_stored_file__that_was_damaged_is_refused_with_what_to_do(own_cache: Path) -> None:
    path = find_weights("good.pt", "sam").path
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(WeightsError, match=f"{path} is damaged or was exchanged.*Delete it"):
        find_weights("good.pt", "sam")
    path.unlink()
    assert find_weights("good.pt", "sam").sha256 == SHA256


@pytest.mark.usefixtures("known")
def test_unknown_hash__is_pinned_at_first_use_and_another_content_is_refused_later(own_cache: Path) -> None:
    path = find_weights("unpinned.pt", "det").path
    assert json.loads((own_cache / "pins.json").read_text()) == {"unpinned.pt": SHA256}
    path.write_bytes(b"exchanged")
    with pytest.raises(WeightsError, match=f"SHA-256 .*, expected {SHA256[:12]}"):
        find_weights("unpinned.pt", "det")
    assert json.loads((own_cache / "pins.json").read_text()) == {"unpinned.pt": SHA256}, "still the first"


@pytest.mark.usefixtures("known")
def test_pin__holds_for_a_second_download_too(own_cache: Path) -> None:
    (own_cache / "weights").mkdir(parents=True)
    (own_cache / "pins.json").write_text(json.dumps({"unpinned.pt": "0" * 64, "another.pt": "1" * 64}))
    with pytest.raises(WeightsError, match="expected 000000000000"):
        find_weights("unpinned.pt", "det")


@pytest.mark.usefixtures("known")
def test_pin__leaves_the_others_alone(own_cache: Path) -> None:
    own_cache.mkdir()
    (own_cache / "pins.json").write_text(json.dumps({"another.pt": "1" * 64}))
    find_weights("unpinned.pt", "det")
    assert json.loads((own_cache / "pins.json").read_text()) == {
        "another.pt": "1" * 64,
        "unpinned.pt": SHA256,
    }


# Names and paths


def test_path__is_taken_as_it_is_and_known_by_its_content(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "mine.pt"
    path.write_bytes(CONTENT)
    assert is_here(str(path))
    found = find_weights(str(path), "sam")
    assert (found.path, found.sha256) == (path, SHA256)
    assert not own_cache.exists()


def test_path__goes_before_a_known_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sam_b.pt").write_bytes(b"mine")
    assert find_weights("sam_b.pt", "sam").path == Path("sam_b.pt")


def test_path__may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.pt").write_bytes(CONTENT)
    assert find_weights("~/mine.pt", "sam").path == tmp_path / "mine.pt"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("yolov8xx.pt", "yolov8x.pt"),
        ("sam_bb.pt", "sam_b.pt"),
        ("mobilesam.pt", "mobile_sam.pt"),
        ("sam2.1_hiera_base.pt", "sam2.1_hiera_base_plus.pt"),
        ("tiney", "tiny"),
    ],
)
def test_unknown_name__suggests_the_nearest(name: str, known: str, own_cache: Path) -> None:
    for ask in (lambda: find_weights(name, "det"), lambda: is_here(name)):
        with pytest.raises(WeightsError, match=f"no known checkpoint: {name}.* Did you mean '{known}'"):
            ask()
    assert not own_cache.exists()


@pytest.mark.parametrize("name", ["./best.pt", "runs/best.pt", "~/best.pt", "..\\best.pt"])
def test_path_of_no_file__suggests_no_checkpoint(name: str, own_cache: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        find_weights(name, "det")
    assert str(caught.value) == f"no such file: {name}"


def test_unknown_name__suggests_none_that_only_shares_the_suffix(own_cache: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        find_weights("best.pt", "det")
    assert "Did you mean" not in str(caught.value)


def test_name_of_a_repository__without_a_network_says_to_copy_a_folder(monkeypatch) -> None:
    from samcli.checkpoints import hub

    def offline(name: str, *, offline: bool) -> None:
        raise OSError("no network")

    monkeypatch.setattr(hub, "_snapshot", offline)
    with pytest.raises(WeightsError, match="hf download facebook/sam-vit-base --local-dir FOLDER"):
        find_weights("facebook/sam-vit-base", "sam")


def test_known_names__agree_with_what_is_published_about_them() -> None:
    assert all(checkpoint.url.startswith("https://") for checkpoint in CHECKPOINTS.values())
    named_as_files = [one for one in CHECKPOINTS.values() if one.publisher != "PyTorch"]
    assert all(checkpoint.url.endswith("/" + checkpoint.name) for checkpoint in named_as_files)
    assert {"yolov8x.pt", "sam_b.pt", "sam_l.pt", "mobile_sam.pt"} <= CHECKPOINTS.keys()
    assert {f"{version}_{size}.pt" for version in ("sam2", "sam2.1") for size in "tsbl"} <= CHECKPOINTS.keys()
    for version, date in (("sam2", "072824"), ("sam2.1", "092824")):
        for size in ("tiny", "small", "base_plus", "large"):
            checkpoint = CHECKPOINTS[f"{version}_hiera_{size}.pt"]
            assert checkpoint.url.endswith(f"/segment_anything_2/{date}/{checkpoint.name}")
            assert len(checkpoint.sha256) == 64
    base = CHECKPOINTS["sam_vit_b_01ec64.pth"]
    assert (base.md5_start, base.bytes) == ("01ec64", 375042383)
    assert base.sha256 == "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"


def test_known_names__are_files_that_ultralytics_publishes_or_metas() -> None:
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    theirs = {name for name, checkpoint in CHECKPOINTS.items() if checkpoint.publisher == "Ultralytics"}
    assert theirs <= GITHUB_ASSETS_NAMES
    torchvisions = {name for name, checkpoint in CHECKPOINTS.items() if checkpoint.publisher == "PyTorch"}
    rest = CHECKPOINTS.keys() - theirs - torchvisions
    assert all("dl.fbaipublicfiles.com" in CHECKPOINTS[name].url for name in rest)


def test_torchvisions_names__are_those_of_its_functions_and_files() -> None:
    from torchvision.models import get_model_weights

    for name, checkpoint in CHECKPOINTS.items():
        if checkpoint.publisher == "PyTorch":
            (published,) = get_model_weights(name)
            assert checkpoint.url == published.url
            assert checkpoint.parameters == pytest.approx(published.meta["num_params"] / 1e6, abs=0.06)
            assert checkpoint.stored.name == checkpoint.url.rpartition("/")[2]
            assert checkpoint.stored.stem.endswith(checkpoint.sha256_start or "?")


def parameters_of(name: str) -> int:
    """Of the published architecture: Meta's own classes, or Ultralytics' from their YAML files."""
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    import torch
    from ultralytics.models.sam import build
    from ultralytics.nn import tasks

    if CHECKPOINTS[name].publisher == "PyTorch":
        from torchvision.models import detection

        with torch.device("meta"):
            return count(getattr(detection, name)(weights=None, weights_backbone=None))
    stem = name.rpartition(".")[0]
    meta = {"b": "b", "l": "l", "h": "h"}
    if stem.startswith("sam_"):
        kind = meta[stem.removeprefix("sam_vit_").removeprefix("sam_")[0]]
        with torch.device("meta"):
            return count(pytest.importorskip("segment_anything").sam_model_registry[f"vit_{kind}"]())
    if stem == "mobile_sam":
        return count(build.build_mobile_sam())
    if stem.startswith("sam2"):
        size = stem.replace("base_plus", "b").replace("hiera_", "").partition("_")[2][0]
        return count(getattr(build, f"build_sam2_{size}")())
    classes = 1 if stem.startswith("FastSAM") else 80
    stem = stem.replace("FastSAM-s", "yolov8s-seg").replace("FastSAM-x", "yolov8x-seg")
    kind = tasks.RTDETRDetectionModel if stem.startswith("rtdetr") else tasks.DetectionModel
    kind = tasks.SegmentationModel if stem.endswith("-seg") else kind
    return count(kind(stem.removesuffix("u") + ".yaml", nc=classes, verbose=False))


def count(network: object) -> int:
    return sum(weight.numel() for weight in network.parameters())  # type: ignore[attr-defined]


SMALL = ["sam_vit_b_01ec64.pth", "sam_l.pt", "mobile_sam.pt", "FastSAM-s.pt", "yolov5nu.pt", "yolov8s-seg.pt"]
SMALL += ["yolov9t.pt", "yolov10n.pt", "yolo11n-seg.pt", "yolo12n.pt", "yolo26n.pt", "yolo26n-seg.pt"]


@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in CHECKPOINTS if name not in SMALL)]
)
def test_parameters__are_those_of_the_published_architecture(name: str) -> None:
    # torchvision's backbones without weights have trainable batch norms, which the published ones freeze.
    margin = 0.1 if CHECKPOINTS[name].publisher == "PyTorch" else 0.06
    assert CHECKPOINTS[name].parameters == pytest.approx(parameters_of(name) / 1e6, abs=margin)


def test_sizes__fit_the_parameters() -> None:
    """Two bytes each in half precision, four in single; more only for what else a file holds."""
    for checkpoint in CHECKPOINTS.values():
        if checkpoint.size and checkpoint.parameters:
            assert 1.95 <= checkpoint.size / checkpoint.parameters <= 4.3, checkpoint.name
    assert CHECKPOINTS["sam_vit_b_01ec64.pth"].size == 375.0
    assert CHECKPOINTS["yolo26x.pt"].size is None, "left out, not guessed"


def test_licences__are_those_of_their_publishers() -> None:
    licences = {name: checkpoint.licence for name, checkpoint in CHECKPOINTS.items()}
    assert {licences[name] for name in licences if name.startswith(("sam", "mobile_sam"))} == {"Apache-2.0"}
    assert {licences[n] for n in licences if n.startswith(("yolo", "rtdetr", "FastSAM"))} == {"AGPL-3.0"}


@pytest.mark.parametrize(
    ("name", "role", "reason"),
    [("sam_b.pt", "det", "is a SAM; expected a detector"), ("yolov8n.pt", "sam", "is a detector; expected a SAM")],
)
def test_name_of_the_other_role__is_refused_before_a_download(name: str, role: str, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        find_weights(name, role)


# Cache folder


def test_cache_folder__is_what_samcli_cache_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SAMCLI_CACHE", "~/elsewhere")
    assert cache_folder() == tmp_path / "elsewhere"


def test_cache_folder__is_the_users_where_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAMCLI_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    assert cache_folder().name == "samcli"
    assert tmp_path in cache_folder().parents


# Embedded models


@pytest.mark.parametrize("role", ["sam", "det"])
def test_tiny__is_in_the_package_and_has_the_hash_of_its_card(role: str, own_cache: Path) -> None:
    found = find_weights("tiny", role)
    assert found.path.name == EMBEDDED[role]
    assert found.sha256 == hashlib.sha256(found.path.read_bytes()).hexdigest()
    assert is_here("tiny")
    assert not own_cache.exists()


def test_tiny__that_is_damaged_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samcli.checkpoints.registry.sha256_of", lambda path: "0" * 64)
    with pytest.raises(WeightsError, match=r"embedded tiny_sam\.safetensors is damaged.*reinstall"):
        find_weights("tiny", "sam")
