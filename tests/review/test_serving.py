"""`samcli review` as a process of its own, killed at random moments: every acknowledged change is there."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest
from finding import FOUND, make_images, run
from runs import journal
from served import Server

from samcli.output.records import read_record
from samcli.types import Annotation

pytest.importorskip("starlette")
pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    made = Server(tmp_path / "data" / "labels", tmp_path / "log")
    yield made
    made.stop(signal.SIGKILL)


def test_random_kills__lose_no_acknowledged_change(server, tmp_path) -> None:
    """200 changes; the server is killed now and then, at any moment of a change."""
    folder = make_images(tmp_path / "data")
    run(folder, format=("yolo", "coco"))
    labels, generator = folder / "labels", random.Random(3)
    keys, known = sorted(FOUND), {}
    server.start()
    for turn in range(25):
        killer = kill_soon(server, generator.uniform(0.0, 0.15)) if turn % 4 == 3 else None
        for _ in range(8):
            number, class_id = generator.randrange(3), generator.randrange(3)
            try:
                version = server.ask(f"state/{number}")["version"]
                server.ask(f"edit/{number}", {"version": version, "do": "class", "index": 0, "class_id": class_id})
            except (OSError, ValueError, HTTPException) as error:
                assert killer is not None and not isinstance(error, urllib.error.HTTPError), error
                break
            known[number] = class_id
        if killer is not None:
            killer.wait()
            server.process.wait(60)
            now = record(labels, keys[number]).instances[0].class_id
            assert now in (known.get(number, FOUND[keys[number]][0][0]), class_id)
            known[number] = now  # the change in flight is there or not
            server.start()
        for place, wanted in known.items():
            assert record(labels, keys[place]).instances[0].class_id == wanted
    server.stop()
    for place, wanted in known.items():
        rows = (labels / f"{keys[place][:-4]}.txt").read_text().splitlines()
        assert len(rows) == len(FOUND[keys[place]]) and rows[0].split()[0] == str(wanted)
    coco = json.loads((labels / "annotations.json").read_bytes())
    assert len(coco["annotations"]) == sum(map(len, FOUND.values()))
    assert {row["key"] for row in journal(labels)} == set(keys)
    assert run(folder, format=("yolo", "coco")).skipped == len(FOUND)


def kill_soon(server: Server, pause: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sh", "-c", f"sleep {pause}; kill -9 {server.process.pid}"])


def record(labels: Path, key: str) -> Annotation:
    return read_record((labels / ".samcli/records" / f"{key}.json").read_bytes())
