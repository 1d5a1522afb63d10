"""How fast `samcli convert` makes other labels of a run's records, and whether its memory stays flat.

    python tests/benchmarks/convert.py [--records 20000] [--objects 7] [--to coco]

Records and journal are written directly; then the command itself is run, in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from samcli.masks import Mask
from samcli.output.journal import Journal
from samcli.output.layout import Layout
from samcli.output.manifest import Manifest, Recipe, write_manifest
from samcli.output.records import write_record
from samcli.types import Annotation, ImageRef, Instance, Outcome, Quality, Status

NAMES = {0: "person", 1: "bicycle", 2: "car"}
SIZE = (480, 640)
VARIANTS = 200
"""So many different images; their masks come again under other keys."""


def main() -> None:
    """Print images a second, by the clock and by the processor, and peak memory by quarters of the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--objects", type=int, default=7)
    parser.add_argument("--to", default="coco")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run = make_run(Path(temporary), given.records, given.objects)
        command = [sys.executable, "-m", "samcli", "convert", str(run), "--to", given.to, "--quiet"]
        command += ["--output", f"{temporary}/out"]
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        resident = watch_memory(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        seconds, cpu = time.monotonic() - started, usage.ru_utime + usage.ru_stime
        assert process.stdout is not None
        print(process.stdout.read().decode().splitlines()[0])
        if status:
            raise SystemExit(f"the command ended with {status}")
    quarters = [max(part) for part in np.array_split(resident, 4)]
    print(f"wall {seconds:.1f} s: {given.records / seconds:.0f} images a second")
    print(f"CPU  {cpu:.1f} s: {given.records / cpu:.0f} images a second of one core")
    print("memory by quarters:", *(f"{value:.0f} MB" for value in quarters))


def make_run(folder: Path, count: int, objects: int) -> Path:
    """A run's output folder with `count` records of `objects` masks each."""
    layout, random = Layout(folder / "images", folder / "labels"), np.random.default_rng(0)
    manifest = Manifest(Recipe({"command": "auto-annotate"}), "f" * 64, "../images", names=NAMES)
    write_manifest(layout.manifest, manifest)
    variants = [tuple(instance(random) for _ in range(objects)) for _ in range(VARIANTS)]
    with Journal(layout.journal, manifest.run) as journal:
        for number in range(count):
            annotation = Annotation(f"{number // 1000:03}/{number:06}.jpg", SIZE, variants[number % VARIANTS])
            path = Path(layout.record(annotation.key))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(write_record(annotation, NAMES))
            journal.append(Outcome(ImageRef(layout.input_root, annotation.key), Status.DONE, {0: objects}))
    return layout.output


def instance(random: np.random.Generator) -> Instance:
    """A lobed shape of a size as COCO's objects have it, with a border as ragged as SAM's."""
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    radii = random.uniform(10, 110) * (1 + 0.3 * np.sin(angles * random.integers(2, 6)))
    radii += random.normal(0, 1, len(angles))
    centre = random.uniform((0, 0), SIZE[::-1])
    canvas = np.zeros(SIZE, np.uint8)
    ring = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
    cv2.fillPoly(canvas, [ring.astype(np.int32)], 1)
    x1, y1, x2, y2 = (float(value) for value in (*ring.min(0), *ring.max(0)))
    return Instance(
        Mask.from_pixels(canvas > 0), int(random.integers(3)), Quality(*random.random(5)), (x1, y1, x2, y2)
    )


def watch_memory(pid: int) -> list[float]:
    """Resident megabytes of a process, twenty times a second until it ends."""
    found = [0.0]
    while True:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return found
        resident = next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), None)
        if resident is None:  # it has ended, and waits to be asked how
            return found
        found.append(resident)
        time.sleep(0.05)


if __name__ == "__main__":
    main()
