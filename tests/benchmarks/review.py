"""`samcli review`: time of a click with embeddings at hand, first paint and memory with many images.

python tests/benchmarks/review.py [--images 5000] [--clicks 20] [--sam sam_b.pt] [--only click,page]

The network has random weights: it is as fast whatever it knows. The page needs Chromium and Playwright.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from runs import write_run
from served import Server

from samcli.bench.random_weights import architecture_of, save_sam
from samcli.jobs.segmenting import open_encoder
from samcli.jobs.worker import StageClock
from samcli.masks import Mask
from samcli.review.correcting import Corrector
from samcli.review.session import Session
from samcli.types import Annotation, Instance, Quality

SIZE = (480, 640)
OBJECTS = 8
CHROMIUM = Path("/usr/bin/chromium")


def main() -> None:
    """Print each figure beside its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--sam", default="sam_b.pt")
    parser.add_argument("--only", default="click,page")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if "click" in given.only:
            measure_clicks(Path(folder) / "few", given.sam, given.clicks)
        if "page" in given.only:
            measure_page(Path(folder) / "many", given.images)


def measure_clicks(folder: Path, sam: str, count: int) -> None:
    """Print how long the server takes from a click to the answer: masks, record, labels and journal."""
    from samcli.sam.engine import load_sam

    labels = write_run(folder, list(annotations(2)), "yolo")
    engine = load_sam(str(save_sam(folder / sam, architecture_of(sam))), "cpu", "fp32")
    corrector = Corrector(lambda: (engine, open_encoder(engine, None, StageClock())))
    session = Session(labels, corrector)
    corrector.embedding(session.ref(0))
    rng, seconds, processor = np.random.default_rng(0), [], []
    for number in range(count + 2):
        index = number // 4 % OBJECTS  # four clicks on an object, the first of them on top of its mask
        x, y = rng.uniform(0.2, 0.8, 2) * SIZE[::-1]
        begun, used = time.perf_counter(), time.process_time()
        session.click(0, session.version(0), index=index, class_id=0, point=(x, y, 1))
        seconds.append(time.perf_counter() - begun)
        processor.append(time.process_time() - used)
    seconds, processor = seconds[2:], processor[2:]  # without those that warm up
    print(
        f"click, {sam}, embedding at hand, {count} clicks: median {statistics.median(seconds) * 1000:.0f} ms "
        f"(target 150), longest {max(seconds) * 1000:.0f} ms, "
        f"processor time {statistics.median(processor) * 1000:.0f} ms"
    )


def measure_page(folder: Path, count: int) -> None:
    """Print when the first images are painted, and the memory of page and server once all rows are there."""
    from playwright.sync_api import sync_playwright

    labels = write_run(folder, list(annotations(count)), "coco")
    server = Server(labels, folder / "log")
    server.start()
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
            for _ in range(3):
                tab = browser.new_page(viewport={"width": 1400, "height": 900})
                tab.goto(server.address)
                print(f"page, {count} images: {paint_of(tab)}; server {resident(server):.0f} MB")
                tab.close()
            browser.close()
    finally:
        server.stop()


def paint_of(tab: Any) -> str:
    """Return first paint, the grid, and the page's memory when it has the rows of all images."""
    painted, grid, filled = (
        time_of(tab, name) for name in ("first-contentful-paint", "samcli-grid", "samcli-filled")
    )
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable")
    session.send("HeapProfiler.collectGarbage")
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return (
        f"first paint {painted:.0f} ms (target 500), grid {grid:.0f} ms, all rows {filled / 1000:.1f} s, "
        f"heap of the page {metrics['JSHeapUsedSize'] / 2**20:.0f} MB"
    )


def time_of(tab: Any, name: str) -> float:
    """Return when the page came to a mark, ms, once it has: its policy allows no waiting inside it."""
    while not (found := tab.evaluate(f"performance.getEntriesByName('{name}').map(one => one.startTime)")):
        tab.wait_for_timeout(100)
    return float(found[0])


def annotations(count: int) -> Iterator[Annotation]:
    """Yield images with eight objects each, of three kinds in turn."""
    rng = np.random.default_rng(0)
    kinds = [tuple(ellipse(rng, number) for number in range(OBJECTS)) for _ in range(3)]
    for number in range(count):
        quality = Quality(0.9, 0.5 + number % 50 / 100, 0.95, 0.9)
        yield Annotation(
            f"{number:05}.png", SIZE, tuple(replace(one, quality=quality) for one in kinds[number % 3])
        )


def ellipse(rng: np.random.Generator, number: int) -> Instance:
    """Return an object with a wavy outline, which has some hundred points."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    y, x = rng.uniform(0.2, 0.8, 2) * SIZE
    angle = np.arctan2(rows - y, columns - x)
    radius = rng.uniform(20, 70) * (1 + 0.15 * np.sin(9 * angle))
    return Instance(Mask.from_pixels(np.hypot(rows - y, columns - x) < radius), number % 4)


def resident(server: Server) -> float:
    """Return the resident memory of the server's process, MB."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


if __name__ == "__main__":
    main()
