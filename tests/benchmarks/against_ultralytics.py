"""The whole job against Ultralytics' `auto_annotate`: same photos, same seeded random weights, in turn.

python tests/benchmarks/against_ultralytics.py PHOTOS [--count 20] [--sam vit_b|mobile_sam] [--rounds 1]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import weights

THEIRS = """
import sys
from ultralytics.data.annotator import auto_annotate
photos, det, sam, out = sys.argv[1:]
auto_annotate(photos, det, sam, device="cpu", conf=0.25, iou=0.45, imgsz=640, max_det=10, output_dir=out)
"""


def main() -> None:
    """Print seconds and the ratio of each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--sam", choices=("vit_b", "mobile_sam"), default="vit_b")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--precision", nargs="+", default=["fp32", "auto"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photos = folder / "images"
        photos.mkdir()
        for path in sorted(given.photos.iterdir())[: given.count]:
            shutil.copy(path, photos)
        det = weights.save_yolo(folder / "yolo.pt")
        # Ultralytics tells the architecture from the file's name.
        sam = folder / ("sam_b.pt" if given.sam == "vit_b" else "mobile_sam.pt")
        (weights.save_sam_vit_b if given.sam == "vit_b" else weights.save_mobile_sam)(sam)
        seconds: dict[str, list[float]] = {"ultralytics": [], **{f"samcli {p}": [] for p in given.precision}}
        for number in range(given.rounds):
            out = folder / f"labels{number}"
            theirs = [sys.executable, "-c", THEIRS, str(photos), str(det), str(sam), f"{out}-theirs"]
            seconds["ultralytics"].append(timed(theirs))
            for precision in given.precision:
                ours = [sys.executable, "-m", "samcli", "auto-annotate", str(photos), "-o", f"{out}-{precision}"]
                ours += ["--det", str(det), "--sam", str(sam), "--max-det", "10", "--precision", precision, "-q"]
                seconds[f"samcli {precision}"].append(timed(ours))
            print({name: round(values[-1], 1) for name, values in seconds.items()}, flush=True)
    theirs_median = statistics.median(seconds["ultralytics"])
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:12} {median:7.1f} s  {theirs_median / median:5.2f} times as fast as Ultralytics")


def timed(command: list[str]) -> float:
    """Wall seconds of a process that must succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
