"""Memory over many images: flat, or a leak.

python tests/benchmarks/memory.py [--images 2000]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image


def main() -> None:
    """Print the median resident memory of the first and the last quarter of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as temporary:
        photos = Path(temporary) / "images"
        photos.mkdir()
        shapes = sorted((Path(__file__).parents[2] / "examples" / "shapes").glob("*.jpg"))
        for index in range(count):
            source = Image.open(shapes[index % len(shapes)]).convert("RGB")
            width = 200 + index % 120  # sizes differ, as in life
            source.resize((width, width * source.height // source.width)).save(photos / f"{index:05}.jpg")
        command = [sys.executable, "-m", "samcli", "auto-annotate", str(photos), "--det", "tiny", "--sam", "tiny"]
        process = subprocess.Popen([*command, "--imgsz", "320", "--quiet", "--json"], stdout=subprocess.PIPE)
        journal = Path(temporary) / "labels" / ".samcli" / "journal.jsonl"
        samples: list[tuple[int, int]] = []
        while process.poll() is None:
            time.sleep(0.5)
            done = journal.read_bytes().count(b"\n") if journal.exists() else 0
            if memory := resident(process.pid):
                samples.append((done, memory))
        summary = json.loads(process.stdout.read())  # type: ignore[union-attr]
    quarters = [[m for done, m in samples if low < done <= low + count // 4] for low in range(0, count, count // 4)]
    medians = [statistics.median(quarter) for quarter in quarters if quarter]
    print(f"{summary['done']} images in {summary['seconds']:.0f} s, {summary['failed']} failed")
    print("median resident memory by quarter, MB:", [round(m / 1024) for m in medians])
    print(f"last quarter against first: {100 * (medians[-1] / medians[0] - 1):+.1f} %")


def resident(pid: int) -> int:
    """Resident memory of a process in KiB; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)
    except OSError:
        return 0


if __name__ == "__main__":
    main()
