"""Everything mode against segment-anything's `amg.py`: whole commands, same photos, same weights, in turn.

python tests/benchmarks/against_amg.py PHOTOS [--count 1] [--points-per-side 32] [--precision fp32 auto]

The weights are random, so nearly no mask passes the default thresholds; what is measured is the search. With
`--keep` low thresholds let the masks through, and what becomes of them is measured too.
"""

from __future__ import annotations

import argparse
import resource
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
import json, sys
from pathlib import Path
import cv2
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
photos, sam, out, points, keep = sys.argv[1:]
low = {"pred_iou_thresh": -9.0, "stability_score_thresh": 0.01, "stability_score_offset": 0.01}
kept = low if keep == "1" else {}
generator = SamAutomaticMaskGenerator(
    sam_model_registry["vit_b"](checkpoint=sam), points_per_side=int(points), output_mode="coco_rle", **kept
)
Path(out).mkdir()
for path in sorted(Path(photos).iterdir()):
    masks = generator.generate(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
    (Path(out) / path.with_suffix(".json").name).write_text(json.dumps(masks))
"""
KEEP = ["--pred-iou-thresh", "-9", "--stability-score-thresh", "0.01", "--stability-score-offset", "0.01"]


def main() -> None:
    """Print seconds, the ratio of each round, and the peak memory of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--points-per-side", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--precision", nargs="+", default=["fp32", "auto"])
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photos = folder / "images"
        photos.mkdir()
        for path in sorted(given.photos.iterdir())[: given.count]:
            shutil.copy(path, photos)
        sam = weights.save_sam_vit_b(folder / "sam_vit_b.pth")
        seconds: dict[str, list[float]] = {"amg": [], **{f"samcli {p}": [] for p in given.precision}}
        points = str(given.points_per_side)
        for number in range(given.rounds):
            out = str(folder / f"out{number}")
            keep = "1" if given.keep else "0"
            theirs = [sys.executable, "-c", THEIRS, str(photos), str(sam), out + "-theirs", points, keep]
            seconds["amg"].append(timed(theirs))
            for precision in given.precision:
                ours = [sys.executable, "-m", "samcli", "everything", str(photos), "-o", f"{out}-{precision}", "-q"]
                ours += [
                    "--sam",
                    str(sam),
                    "--convert-to-rle",
                    "--precision",
                    precision,
                    "--points-per-side",
                    points,
                ]
                seconds[f"samcli {precision}"].append(timed(ours + (KEEP if given.keep else [])))
            print({name: round(values[-1], 1) for name, values in seconds.items()}, flush=True)
    median = statistics.median(seconds["amg"])
    for name, values in seconds.items():
        ours_median = statistics.median(values)
        print(f"{name:12} {ours_median:7.1f} s  {median / ours_median:5.2f} times as fast as amg.py")
    print(f"peak memory of the largest process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10} MB")


def timed(command: list[str]) -> float:
    """Wall seconds of a process that must succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
