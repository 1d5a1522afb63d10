"""Run `auto-annotate` over very many small images in one process and watch its memory and open files.

    python tests/benchmarks/soak.py [--images 20000] [--json]

All is real but the networks: they compute each of eight pictures once, and their answer is taken again for the
pictures that are links to it. Prints medians of resident memory, open files and threads for each quarter of the
run. `tests/benchmarks/test_soak.py` holds a small version.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

PICTURES = 8
_SIZE = (72, 96)


@dataclass(frozen=True)
class Sample:
    """What the process held when so many images were done. `memory`: megabytes."""

    done: int
    memory: float
    files: int
    threads: int


def soak(folder: Path, images: int) -> list[Sample]:
    """Label that many images in a new folder; return the medians of each quarter.

    Raises:
        RuntimeError: not every image was labelled.
    """
    from typer.testing import CliRunner

    from samcli.cli import app
    from samcli.jobs.worker import Worker

    fill(folder / "images", images)
    samples: list[Sample] = []
    ended = threading.Event()
    journal = folder / "labels" / ".samcli" / "journal.jsonl"
    watcher = threading.Thread(target=_watch, args=(journal, samples, ended))
    watcher.start()
    command = ["auto-annotate", "images", "-o", "labels", "--det", "tiny", "--sam", "tiny", "--precision", "fp32"]
    before = Path.cwd()
    try:
        os.chdir(folder)
        with mock.patch.object(Worker, "annotate", _remembering(Worker.annotate)):
            result = CliRunner().invoke(app, [*command, "--format", "yolo", "--format", "coco", "--quiet"])
    finally:
        os.chdir(before)
        ended.set()
        watcher.join()
    labels = len(list((folder / "labels").rglob("*.txt")))
    if result.exit_code or labels < images:
        raise RuntimeError(f"exit status {result.exit_code}, {labels} of {images} labels: {result.output[-500:]}")
    return quarters(samples, images)


def fill(folder: Path, images: int) -> None:
    """Draw the pictures, and link to them under so many names."""
    from samcli.bench.pictures import write_pictures

    sources = write_pictures(folder.with_name("pictures"), PICTURES, _SIZE)
    for number in range(images):
        source = sources[number % PICTURES]
        place = folder / f"{number // 10_000:03}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:06}{source.suffix}").symlink_to(source)


def quarters(samples: list[Sample], images: int) -> list[Sample]:
    """Medians of the samples of each quarter of the run."""
    found = []
    for number in range(4):
        low, high = images * number // 4, images * (number + 1) // 4
        within = [sample for sample in samples if low < sample.done <= high]
        if within:
            columns = zip(*(asdict(sample).values() for sample in within), strict=True)
            done, memory, files, threads = (statistics.median(column) for column in columns)
            found.append(Sample(int(done), memory, int(files), int(threads)))
    return found


def _watch(journal: Path, samples: list[Sample], ended: threading.Event) -> None:
    while not ended.wait(0.2):
        done = journal.read_bytes().count(b"\n") if journal.exists() else 0
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        memory = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        samples.append(Sample(done, memory, len(list(Path("/proc/self/fd").iterdir())), threading.active_count()))


def _remembering(annotate: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Answer for an image what the networks made of the picture that it links to."""
    answers: dict[int, Any] = {}

    def remembered(self: Any, images: Any) -> list[Any]:
        numbers = [int(Path(image.ref.key).stem) % PICTURES for image in images]
        for number, image in zip(numbers, images, strict=True):
            if number not in answers:
                (answers[number],) = annotate(self, [image])
        found = [answers[number] for number in numbers]
        return [
            replace(one, annotation=replace(one.annotation, key=image.ref.key))
            for one, image in zip(found, images, strict=True)
        ]

    return remembered


def main() -> None:
    """Print a line for each quarter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SAMCLI_CACHE"] = f"{folder}/cache"
        found = soak(Path(folder), given.images)
    if given.json:
        print(json.dumps([asdict(sample) for sample in found]))
        return
    for number, sample in enumerate(found, 1):
        print(
            f"quarter {number}: {sample.memory:.0f} MB, {sample.files} open files, {sample.threads} threads "
            f"(median, around image {sample.done})"
        )


if __name__ == "__main__":
    main()
