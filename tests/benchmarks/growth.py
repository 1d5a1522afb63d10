"""Measure seconds and peak memory as one thing grows and all else stays the same; tiny models.

    python tests/benchmarks/growth.py [--only images,prompts] [--extent 0.1] [--chart growth.svg]

A curve is linear or better where from each point to the next neither time nor peak memory grows faster than size to
the power of 1.1.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import charts
from settings import Call, Settings, read_call

from samcli.bench.commands import Finished, run_command, samcli_command
from samcli.bench.comparison import machine, words
from samcli.bench.pictures import write_picture, write_pictures
from samcli.bench.rotation import Watch, run_rotation, started
from samcli.bench.setup import OWN, Setup
from samcli.cli.report.benchmark import new_console, new_table, print_legend
from samcli.errors import SamcliError
from samcli.sam.devices import choose_device

LINEAR = 1.1
"""The steepest slope in a plot of logarithms that still counts as linear: 1, and what noise adds."""

_DISTINCT = 100
"""Different pictures among many: the others are links to them."""

_PER_FOLDER = 10_000
_TINY = ("--det", "tiny", "--sam", "tiny")
_SMALL = (240, 320)
_ROUNDS = 3


@dataclass(frozen=True)
class Point:
    """What one size took. `cpu_seconds`: of all its threads."""

    size: float
    seconds: float
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Curve:
    """Points of rising size. `unit`: of the sizes; `what`: the work."""

    name: str
    unit: str
    what: str
    points: tuple[Point, ...]

    @property
    def slope(self) -> float:
        """The steepest of time between two neighbours, as an exponent: 1 is linear, 2 quadratic."""
        return _steepest([(point.size, point.seconds) for point in self.points])

    @property
    def memory_slope(self) -> float:
        """The same of peak memory."""
        return _steepest([(point.size, point.peak_mb) for point in self.points])

    @property
    def is_linear(self) -> bool:
        """Linear or better, in time and memory, from each point to the next."""
        return max(self.slope, self.memory_slope) <= LINEAR

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "slope": self.slope, "memory_slope": self.memory_slope, "linear": self.is_linear}


def _steepest(points: Sequence[tuple[float, float]]) -> float:
    """The highest exponent between neighbours; 0 where nothing grows."""
    steps = [
        math.log(after / before) / math.log(more / less)
        for (less, before), (more, after) in pairwise(points)
        if before > 0 and after > 0
    ]
    return max(steps, default=0.0)


@dataclass(frozen=True)
class Axis:
    """What grows, to which sizes, and how one of them is measured in an empty folder."""

    unit: str
    what: str
    sizes: tuple[float, ...]
    measure: Callable[[float, Path, Settings], Point]

    def within(self, extent: float) -> list[float]:
        """The sizes up to that share of the longest, that one included."""
        most = max(self.sizes[0], self.sizes[-1] * extent)
        return [size for size in self.sizes if size < most] + [most]


@dataclass
class Growth:
    """Curves, and on what they were measured."""

    machine: dict[str, Any]
    options: Settings
    curves: list[Curve]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        curves = [curve.as_dict() for curve in self.curves]
        return {"machine": self.machine, "options": self.options.values(), "growth": curves}


def measure_growth(
    names: Sequence[str],
    options: Settings,
    watch: Watch = lambda line: None,
    keep: Callable[[Growth], None] = lambda result: None,
) -> Growth:
    """The curves of these names. `keep` is given what there is after each.

    Raises:
        SamcliError: a command failed.
    """
    device = str(choose_device(options.device))
    result = Growth(machine(device, options), options, [])
    for name in names:
        axis, points = AXES[name], []
        for size in axis.within(options.extent):
            watch(f"growth: {size:,g} {axis.unit}")
            with tempfile.TemporaryDirectory(prefix="samcli-bench-") as folder:
                points.append(axis.measure(size, Path(folder), options))
        result.curves.append(Curve(name, axis.unit, axis.what, tuple(points)))
        keep(result)
    return result


def _point(size: float, done: Finished) -> Point:
    return Point(size, done.seconds, done.cpu_seconds, done.peak_mb)


def _images(size: float, folder: Path, options: Settings) -> Point:
    """A whole run over that many images."""
    images = many_pictures(folder / "images", int(size))
    return _point(size, run_command(annotate_command(images, options), threads=options.threads))


def annotate_command(images: Path, options: Settings) -> list[str]:
    """auto-annotate with the tiny models."""
    return samcli_command(
        "auto-annotate", images, *_TINY, "--imgsz", 320, "--device", options.device, "--precision",
        options.precision, "--json", "--quiet",
    )  # fmt: skip


def many_pictures(folder: Path, count: int) -> Path:
    """A folder of small pictures, of which a hundred differ."""
    first = write_pictures(folder / "0000", min(count, _DISTINCT), _SMALL)
    for index in range(len(first), count):
        target = folder / f"{index // _PER_FOLDER:04}" / f"{index:07}.jpg"
        target.parent.mkdir(exist_ok=True)
        link(first[index % len(first)], target)
    return folder


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has enough of them (65,000 to a file on ext4)."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _prompts(size: float, folder: Path, options: Settings) -> Point:
    """That many boxes of one image that is encoded."""
    paths = write_pictures(folder, 1)
    setup = _setup(paths, options, int(size))
    (figures,) = run_rotation([setup], ["box"], _ROUNDS)
    if figures.missing:
        raise SamcliError(figures.missing)
    box = figures.tasks["box"]
    return Point(size, min(box.seconds), min(box.cpu_seconds), box.peak_mb)


def _setup(paths: Sequence[Path], options: Settings, boxes: int) -> Setup:
    return Setup(
        OWN, "tiny", "tiny", tuple(map(str, paths)), device=str(choose_device(options.device)),
        precision=options.precision, threads=options.threads, boxes=boxes,
    )  # fmt: skip


def _pixels(size: float, folder: Path, options: Settings) -> Point:
    """Decode one image of that many megapixels, ten boxes, polygons, write."""
    height = int((size * 1e6 / 1.5) ** 0.5)
    path = write_picture(folder / "image.jpg", 0, (height, int(height * 1.5)))
    seconds, cpu_seconds, peak = [], [], 0.0
    with started([_setup([path], options, options.boxes)]) as (worker,):
        worker.load()
        for number in range(_ROUNDS):
            answer = worker.ask(stages="box", image=0)
            if "stages" not in answer:
                raise SamcliError(str(answer.get("error")))
            peak = max(peak, answer["peak_mb"])
            if number:  # the first warms up
                seconds.append(sum(answer["stages"].values()))
                cpu_seconds.append(answer["cpu_seconds"])
    return Point(size, min(seconds), min(cpu_seconds), peak)


def _journal(size: float, folder: Path, options: Settings) -> Point:
    """`samcli status` of a run with that many lines; the images need not be there."""
    labels = _begun_run(folder, options)
    journal = labels / ".samcli" / "journal.jsonl"
    line = json.loads(journal.read_text(encoding="utf-8"))
    with journal.open("w", encoding="ascii") as file:
        file.writelines(_line(line, key) for key in _keys(int(size)))
    return _point(size, run_command(samcli_command("status", labels, "--json")))


def _begun_run(folder: Path, options: Settings) -> Path:
    """The output folder of a finished run over one picture, `000/0.jpg`."""
    write_picture(folder / "images" / "000" / "0.jpg", 0, _SMALL)
    run_command(annotate_command(folder / "images", options))
    return folder / "labels"


def _keys(count: int) -> Iterator[str]:
    for index in range(count):
        yield f"{index // _PER_FOLDER:03}/{index % _PER_FOLDER}.jpg"


def _line(line: dict[str, Any], key: str) -> str:
    return json.dumps({**line, "key": key}, separators=(",", ":")) + "\n"


def measure_resume(size: float, folder: Path, options: Settings) -> Point:
    """A run that finds all of that many images done. They, their labels and records are links to one of each."""
    labels = _begun_run(folder, options)
    images, records = folder / "images", labels / ".samcli" / "records"
    journal = labels / ".samcli" / "journal.jsonl"
    line = json.loads(journal.read_text(encoding="utf-8"))
    first = {images: "000/0.jpg", labels: "000/0.txt", records: "000/0.jpg.json"}
    with journal.open("w", encoding="ascii") as file:
        for key in _keys(int(size)):
            names = {images: key, labels: key.removesuffix(".jpg") + ".txt", records: key + ".json"}
            for root, name in names.items():
                if key.endswith("/0.jpg"):
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                if name != first[root]:
                    link(root / first[root], root / name)
            file.write(_line(line, key))
    manifest = labels / ".samcli" / "run.json"  # of one image as yet: a run that has grown is planned twice
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "total": int(size)}), encoding="utf-8")
    done = run_command(annotate_command(images, options))
    if (skipped := json.loads(done.output)["skipped"]) != int(size):
        raise SamcliError(f"only {skipped} of {int(size)} images were found done")
    return _point(size, done)


AXES = {
    "images": Axis("images", "auto-annotate, whole command", (10, 100, 1000, 10_000), _images),
    "prompts": Axis("boxes", "masks of one encoded image", (1, 3, 10, 30, 100, 300, 1000), _prompts),
    "pixels": Axis("megapixels", "one image, from file to labels", (0.25, 1, 4, 16, 50, 100), _pixels),
    "journal": Axis("lines", "status, whole command", (1000, 10_000, 100_000, 1_000_000), _journal),
    "resume": Axis(
        "images done", "auto-annotate with nothing left to do, whole command", (1000, 10_000, 100_000, 1_000_000),
        measure_resume,
    ),
}  # fmt: skip
"""What grows."""


def print_growth(result: Growth) -> None:
    """Print each curve's points, its steepest step, and whether it is linear or better."""
    console = new_console()
    for curve in result.curves:
        table = new_table(curve.unit, "seconds", "CPU seconds", "peak MB", "ms each")
        for point in curve.points:
            each = 1000 * point.seconds / point.size
            figures = (f"{point.seconds:.2f}", f"{point.cpu_seconds:.2f}", f"{point.peak_mb:,.0f}", f"{each:.3g}")
            table.add_row(f"{point.size:,g}", *figures)
        console.print(f"{curve.name}: {curve.what}", style="bold")
        console.print(table)
        if len(curve.points) > 1:
            verdict = "[green]linear or better[/]" if curve.is_linear else "[red]steeper than linear[/]"
            console.print(
                f"{verdict}: in the steepest step time grows as size to the power of {curve.slope:.2f}, memory as "
                f"size to the power of {curve.memory_slope:.2f} (limit {LINEAR:g})",
                soft_wrap=True,
            )
        console.print()
    print_legend(console, "ms each: all seconds divided by size, start included.", result.machine)


def main(call: Call) -> None:
    """Measure the curves that were asked for and print them."""
    names = words(call.settings.only, AXES, "--only") or list(AXES)
    result = measure_growth(names, call.settings, call.watch, lambda so_far: call.keep(so_far.as_dict()))
    if call.chart:
        charts.draw_growth(result.curves, call.chart)
    print_growth(result)


if __name__ == "__main__":
    main(read_call(__doc__))
