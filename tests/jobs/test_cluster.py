"""The same images give the same label trees, byte for byte, by whichever way and whatever fails on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from object_store import BUCKET, S3, s3_server
from PIL import Image as PillowImage

pytestmark = pytest.mark.cluster

SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
COUNT = int(os.environ.get("TEST_IMAGES", "60"))
OPTIONS = ("--det", "tiny", "--sam", "tiny", "--precision", "fp32", "--threads", "1", "--format", "yolo",
           "--format", "coco", "--json", "--quiet")  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of drawn shapes in three folders, and one file that is no image."""
    folder = tmp_path_factory.mktemp("cluster") / "images"
    random = np.random.default_rng(0)
    with PillowImage.open(SHAPES / "stones.tif") as stones, PillowImage.open(SHAPES / "beads.jpg") as beads:
        sources = [stones.convert("RGB"), beads.convert("RGB")]
    for number in range(COUNT):
        source = sources[number % 2]
        left, top = (int(random.integers(0, side - 160)) for side in source.size)
        path = folder / f"{number % 3:03}" / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        source.crop((left, top, left + 160, top + 160)).save(path)
    (folder / "000" / "torn.jpg").write_bytes(b"no image")
    return folder


def environment(variables: dict[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", **(variables or {})}


def annotate(data: object, output: object, *more: object, variables: dict[str, str] | None = None) -> dict:
    """Run `samcli auto-annotate` in a process of its own, to its end; one image fails."""
    command = [sys.executable, "-m", "samcli", "auto-annotate", *map(str, (data, "-o", output, *OPTIONS, *more))]
    ended = subprocess.run(command, env=environment(variables), capture_output=True, text=True, timeout=500)
    assert ended.returncode == 3, ended.stderr
    summary: dict = json.loads(ended.stdout)
    assert list(summary["failures"]) == ["000/torn.jpg"]
    return summary


def labels(output: Path) -> dict[str, bytes]:
    """Labels, records and the files for all images."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and not path.name.startswith(("journal", "lock", "run.json"))
    }


def outcomes(journal: bytes) -> list[str]:
    return sorted(json.loads(line)["key"] for line in journal.splitlines())


@pytest.fixture(scope="module")
def expected(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("expected") / "out"
    annotate(images, output)
    found = labels(output)
    assert len(found) == 2 * COUNT + 2
    return found


def test_two_processes(images, expected, tmp_path) -> None:
    annotate(images, tmp_path / "out", "--device", "cpu", "--procs", "2")
    assert labels(tmp_path / "out") == expected


def test_four_shards(images, expected, tmp_path) -> None:
    for index in (3, 1, 4, 2):
        command = [
            sys.executable,
            "-m",
            "samcli",
            "auto-annotate",
            *map(str, (images, "-o", tmp_path / "out", *OPTIONS)),
        ]
        subprocess.run([*command, "--shard", f"{index}/4"], env=environment(), capture_output=True, timeout=300)
    assert labels(tmp_path / "out") == expected


def test_web_dataset(images, expected, tmp_path) -> None:
    (tmp_path / "data").mkdir()
    for folder in sorted(images.iterdir()):
        with tarfile.open(tmp_path / "data" / f"{folder.name}.tar", "w") as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, path.name)
    annotate(f"{tmp_path}/data/{{000..002}}.tar", tmp_path / "out")
    assert labels(tmp_path / "out") == expected


@pytest.fixture
def s3() -> Iterator[tuple[S3, dict[str, str]]]:
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    with s3_server() as found:
        yield found


def uploaded(s3: S3, images: Path) -> str:
    s3.put_tree(images, "photos")
    return f"s3://{BUCKET}/photos"


def wait_for(store: S3, objects: int, run: subprocess.Popen[bytes]) -> None:
    """Wait until a run has put so many objects into the store."""
    begun = time.monotonic()
    while store.count("out") < objects:
        assert run.poll() is None
        assert time.monotonic() - begun < 200
        time.sleep(0.05)


def test_s3_with_faults(images, expected, s3, tmp_path) -> None:
    store, variables = s3
    data = uploaded(store, images)
    store.proxy.share = 0.08
    output, more = (
        f"s3://{BUCKET}/out",
        ("--store-timeout", "2", "--staging", tmp_path / "staging", "--workers", "4"),
    )
    annotate(data, output, *more, variables=variables)
    assert sum(store.proxy.seen.values()) - store.proxy.seen["none"] > 10, store.proxy.seen
    found = store.tree("out")
    journal = found.pop(".samcli/journal.jsonl")
    assert json.loads(found.pop(".samcli/run.json"))["input_root"] == data
    assert found == expected  # nothing lost, nothing half, nothing left over
    assert outcomes(journal) == sorted([*(f"{n % 3:03}/{n:04}.jpg" for n in range(COUNT)), "000/torn.jpg"])
    assert not [
        path for path in (tmp_path / "staging").rglob("*") if path.is_file() and path.stat().st_size > 10_000
    ]
    store.proxy.share = 0.0
    assert annotate(data, output, *more, variables=variables)["skipped"] == COUNT


def test_s3__killed_goes_on_elsewhere(images, expected, s3, tmp_path) -> None:
    """Killed by SIGKILL with its staging folder lost: what the bucket holds is enough."""
    store, variables = s3
    data, output = uploaded(store, images), f"s3://{BUCKET}/out"
    command = [sys.executable, "-m", "samcli", "auto-annotate", data, "-o", output, *OPTIONS]
    run = subprocess.Popen(
        [*command, "--staging", tmp_path / "first"], env=environment(variables), stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(store, 10, run)
    run.kill()
    run.wait()
    assert len(store.tree("out")) < len(expected)
    annotate(data, output, "--staging", tmp_path / "second", variables=variables)
    found = store.tree("out")
    assert {
        name: data for name, data in found.items() if "/run.json" not in name and "journal" not in name
    } == expected


def test_s3__stopped_by_sigterm_keeps_what_is_done(images, expected, s3, tmp_path) -> None:
    store, variables = s3
    data, output = uploaded(store, images), f"s3://{BUCKET}/out"
    command = [sys.executable, "-m", "samcli", "auto-annotate", data, "-o", output, *OPTIONS]
    run = subprocess.Popen(command, env=environment(variables), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_for(store, 10, run)
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 143, err
    assert b"hidden-secret" not in out + err
    done = json.loads(out)["done"]
    journal = store.tree("out")[".samcli/journal.jsonl"]
    assert len({key for key in outcomes(journal) if key != "000/torn.jpg"}) == done < COUNT
    assert annotate(data, output, variables=variables)["skipped"] == done
    assert {name for name in store.tree("out") if "lease" in name} == set()


def test_s3__that_answers_no_more_ends_the_run_as_a_full_disk_does(images, s3) -> None:
    store, variables = s3
    data, output = uploaded(store, images), f"s3://{BUCKET}/out"
    command = [sys.executable, "-m", "samcli", "auto-annotate", data, "-o", output, *OPTIONS]
    run = subprocess.Popen(command, env=environment(variables), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_for(store, 4, run)
    store.proxy.kinds, store.proxy.share = ("503",), 1.0
    _, err = run.communicate(timeout=300)
    assert run.returncode == 1, err
    assert b"Traceback" not in err
    assert f"cannot write s3://{BUCKET}/out/".encode() in err


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[object]:
    """A head without room for actors, and two more nodes."""
    pytest.importorskip("ray")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def ray_options(cluster: object) -> tuple[str, ...]:
    return ("--runner", "ray", "--ray-address", str(cluster.address), "--num-actors", "2")  # type: ignore[attr-defined]


def test_ray_on_three_nodes(images, expected, ray_cluster, tmp_path) -> None:
    annotate(images, tmp_path / "out", *ray_options(ray_cluster))
    assert labels(tmp_path / "out") == expected
    assert len(outcomes((tmp_path / "out" / ".samcli" / "journal.jsonl").read_bytes())) == COUNT + 1


def test_ray_with_a_node_killed(images, expected, ray_cluster, tmp_path) -> None:
    doomed = ray_cluster.add_node(num_cpus=1)
    output = tmp_path / "out"

    def kill() -> None:
        while len(list(output.rglob("*.txt"))) < COUNT // 4:
            time.sleep(0.05)
        ray_cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    annotate(images, output, *ray_options(ray_cluster)[:4], "--num-actors", "3")
    killer.join()
    assert labels(output) == expected
    assert len(outcomes((output / ".samcli" / "journal.jsonl").read_bytes())) == COUNT + 1
