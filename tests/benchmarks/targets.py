"""Measure the project's targets: each row with how it is measured, and the limit that it has to reach.

    python tests/benchmarks/targets.py PHOTOS [--only encode,exact-box] [--extent 0.1] [--output targets.json]

Rows share what they can: one group of measurements serves all rows that are about it. Groups hold the same photos,
the same weights (random ones where a file is not here: speed does not depend on them), and take turns.
"""

from __future__ import annotations

import functools
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import charts
from growth import AXES, Point, annotate_command, many_pictures, measure_resume
from peers import check_peer, peer_setup
from settings import Call, Settings, read_call

from samcli.bench.commands import Finished, run_command, samcli_command
from samcli.bench.comparison import bench_images, machine, profile, words
from samcli.bench.models import random_file
from samcli.bench.pictures import draw_boxes
from samcli.bench.rotation import ContenderFigures, Spread, Watch, run_rotation
from samcli.bench.setup import OWN, Setup
from samcli.bench.stages import NETWORK_STAGES
from samcli.checkpoints.registry import is_here, known_checkpoint
from samcli.cli.report.benchmark import new_console, new_table, print_legend, print_stages
from samcli.errors import SamcliError
from samcli.images import find_images, probe_image

MODELS = {"vit-b": "sam_b.pt", "vit-h": "sam_vit_h_4b8939.pth", "det": "yolov8x.pt"}
"""What the rows are about; Ultralytics tells an architecture from the file's name."""

_POINTS = 32
_MAX_DET = 10
_PHOTOS = 20
_FLAT_IMAGES = 10_000
_FLAT_FIRST = 500
_GPU_EVERYTHING, _GPU_BOXES = 64, 2000


class NotHereError(SamcliError):
    """A row cannot be measured on this machine; its place in the table says why."""


@dataclass(frozen=True)
class Target:
    """A row. `limit` in `unit`, at least (or, with `most`, at most). `measure`: a figure for each round.

    `stages`: the model and mode whose profile shows what stands in the way where the row is not met.
    `needs`: peers. `gpu`: measured on one only.
    """

    name: str
    work: str
    against: str
    limit: float
    unit: str
    measure: Callable[[Bench], Sequence[float]]
    most: bool = False
    stages: tuple[str, str] | None = None
    needs: str | None = None
    gpu: bool = False


@dataclass
class Reached:
    """What became of a row. `spread`: None where it could not be measured, for the reason in `note`."""

    target: Target
    spread: Spread | None = None
    note: str = ""
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """By its median."""
        if self.spread is None:
            return None
        return (
            self.spread.median <= self.target.limit if self.target.most else self.spread.median >= self.target.limit
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        shown = {key: getattr(self.target, key) for key in ("name", "work", "against", "limit", "unit", "most")}
        measured = asdict(self.spread) if self.spread else None
        return {**shown, "measured": measured, "met": self.met, "note": self.note, "stages": self.stages}


@dataclass
class Targets:
    """All rows that were asked for, and on what they were measured."""

    machine: dict[str, Any]
    options: Settings
    rows: list[Reached]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        rows = [row.as_dict() for row in self.rows]
        return {"machine": self.machine, "options": self.options.values(), "targets": rows}


def measure_targets(
    images: Path | None,
    names: Sequence[str],
    options: Settings,
    watch: Watch = lambda line: None,
    models: Mapping[str, str] = MODELS,
    keep: Callable[[Targets], None] = lambda result: None,
) -> Targets:
    """The rows of these names. `images`: photos; None: pictures are drawn. `models`: see `MODELS`.

    `keep` is given what there is after each: the next may take an hour.

    Raises:
        SamcliError: a command failed.
    """
    from samcli.sam.devices import choose_device

    device = str(choose_device(options.device))
    result = Targets(machine(device, options), options, [])
    with tempfile.TemporaryDirectory(prefix="samcli-bench-") as temporary:
        bench = Bench(images, names, replace(options, device=device), Path(temporary), watch, models)
        for name in names:
            result.rows.append(_reach(TARGETS[name], bench))
            keep(result)
    return result


def _reach(target: Target, bench: Bench) -> Reached:
    """Measure one row; look into it where it is not met."""
    bench.watch(f"target {target.name}")
    try:
        if target.gpu and not bench.on_gpu:
            raise NotHereError("no GPU here")
        if target.needs:
            check_peer(target.needs)
        reached = Reached(target, Spread.of(target.measure(bench)))
    except SamcliError as error:  # this row's alone: others may have taken hours
        return Reached(target, note=str(error))
    if reached.met is False and target.stages:
        reached.stages = bench.stages(*target.stages)
    return reached


class Bench:
    """What rows share: photos, weights, and what has been measured already."""

    def __init__(
        self,
        images: Path | None,
        names: Sequence[str],
        options: Settings,
        folder: Path,
        watch: Watch,
        models: Mapping[str, str],
    ) -> None:
        self.options = options
        self.watch = watch
        self._images = images
        self._names = frozenset(names)
        self._folder = folder
        self._models = models
        self._fresh = 0

    @property
    def on_gpu(self) -> bool:
        """Whether that is where the networks are."""
        return self.options.device.startswith("cuda")

    def scaled(self, count: int) -> int:
        """So many, or the share of them that `--extent` says."""
        return max(1, math.ceil(count * self.options.extent))

    def new_folder(self) -> Path:
        """A name that nothing has yet."""
        self._fresh += 1
        return self._folder / f"out{self._fresh}"

    @functools.cache  # noqa: B019 - lives as long as the bench
    def weights(self, role: str) -> Path:
        """The file of one of the models, under a name by which Ultralytics knows it."""
        name = self._models[role]
        path = Path(name).expanduser()
        if path.is_file():
            return path
        if is_here(name):
            return known_checkpoint(name).stored
        self.watch(f"{name}: making random weights")
        return random_file(name, self._folder / "weights")

    @functools.cache  # noqa: B019
    def photos(self, count: int) -> Path:
        """A folder with that many photos, those given again and again if they are fewer."""
        found = bench_images(self._images, count, self._folder / f"drawn{count}")
        folder = self._folder / f"photos{count}"
        folder.mkdir()
        for index in range(count):
            source = found[index % len(found)]
            (folder / f"{index:05}{source.suffix}").symlink_to(source.resolve())
        return folder

    def everywhere(self, *, precision: str | None = None) -> list[str]:
        """What every command of ours is told."""
        precision = precision or self.options.precision
        return ["--device", self.options.device, "--precision", precision, "--quiet", "--json"]

    def run(self, command: Sequence[str]) -> Finished:
        """Run a whole command."""
        return run_command(command, threads=self.options.threads)

    def in_turn(self, commands: Mapping[str, Callable[[], list[str]]]) -> dict[str, list[Finished]]:
        """Whole commands, round by round, another first in each."""
        done: dict[str, list[Finished]] = {name: [] for name in commands}
        for number in range(self.options.rounds):
            names = list(commands)
            for name in [*names[number % len(names) :], *names[: number % len(names)]]:
                self.watch(f"targets: round {number + 1} of {self.options.rounds}, {name}")
                done[name].append(self.run(commands[name]()))
        return done

    def setup(self, tool: str, count: int, precision: str | None = None) -> Setup:
        """A tool with ViT-B and some photos."""
        paths = sorted(self.photos(count).iterdir())
        weights = str(self.weights("vit-b"))
        setup = Setup(
            tool, Path(weights).name, weights, tuple(map(str, paths)), device=self.options.device,
            precision=precision or self.options.precision, threads=self.options.threads,
            boxes=self.options.boxes, points_per_side=_POINTS,
        )  # fmt: skip
        return setup if tool == OWN else peer_setup(setup, tool)

    @functools.cache  # noqa: B019
    def encoders(self) -> list[ContenderFigures]:
        """Encoding and boxes by samcli, samcli in fp32 and segment-anything."""
        setups = [self.setup(OWN, self.options.images), self.setup(OWN, self.options.images, "fp32")]
        setups.append(self.setup("segment-anything", self.options.images))
        return run_rotation(setups, ("encode", "box"), self.options.rounds, self.watch)

    @functools.cache  # noqa: B019
    def generators(self) -> list[ContenderFigures]:
        """Everything by samcli, and by those of Ultralytics and transformers that a row is about."""
        peers = [peer for peer in ("ultralytics", "transformers") if f"everything-{peer}" in self._names]
        setups = [self.setup(tool, self.options.images) for tool in (OWN, *peers)]
        return run_rotation(setups, ("everything",), self.options.rounds, self.watch)

    @functools.cache  # noqa: B019
    def everything(self) -> dict[str, list[Finished]]:
        """The whole command: amg.py's, ours, and ours in fp32."""
        photos, sam = self.photos(self.options.images), self.weights("vit-b")

        def ours(precision: str) -> list[str]:
            return samcli_command(
                "everything", photos, "-o", self.new_folder(), "--sam", sam, "--convert-to-rle",
                "--points-per-side", _POINTS, *self.everywhere(precision=precision),
            )  # fmt: skip

        return self.in_turn(
            {
                "amg": lambda: _peer("amg", photos, sam, self.new_folder(), _POINTS, self.options.device),
                "auto": lambda: ours(self.options.precision),
                "fp32": lambda: ours("fp32"),
            }
        )

    def annotate(self, *more: object) -> list[str]:
        """Our auto-annotate with the detector and ViT-B."""
        return samcli_command(
            "auto-annotate", self.photos(self.scaled(_PHOTOS)), "-o", self.new_folder(), "--det",
            self.weights("det"), "--sam", self.weights("vit-b"), "--max-det", _MAX_DET, *self.everywhere(), *more,
        )  # fmt: skip

    @functools.cache  # noqa: B019
    def resumed(self) -> Point:
        """A run that finds everything done."""
        folder = self.new_folder()
        folder.mkdir()
        return measure_resume(AXES["resume"].within(self.options.extent)[-1], folder, self.options)

    def stages(self, model: str, mode: str) -> dict[str, float]:
        """Seconds an image by stage."""
        setup = self.setup(OWN, 1)
        if model == "tiny":
            setup = replace(setup, model="tiny", weights="tiny", det="tiny")
        elif model != "vit-b":
            setup = replace(setup, model=model, weights=str(self.weights(model)))
        return profile(setup, 1, self.watch, (mode,)).get(mode, {})


def _peer(*arguments: object) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("peer_commands.py")), *map(str, arguments)]


def _times(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    return [theirs / ours for theirs, ours in zip(slow, fast, strict=True)]


def _command_times(done: Mapping[str, Sequence[Finished]], slow: str, fast: str) -> list[float]:
    return _times([run.seconds for run in done[slow]], [run.seconds for run in done[fast]])


def _task_times(task: str, slow: ContenderFigures, fast: ContenderFigures) -> list[float]:
    if missing := fast.missing or slow.missing:
        raise NotHereError(missing)
    return _times(slow.tasks[task].seconds, fast.tasks[task].seconds)


def _encode(bench: Bench) -> list[float]:
    own, _, peer = bench.encoders()
    return _task_times("encode", peer, own)


def _exact(task: str, bench: Bench) -> list[float]:
    _, own, peer = bench.encoders()
    return _task_times(task, peer, own)


def _everything_peer(tool: str, bench: Bench) -> list[float]:
    own, *peers = bench.generators()
    return _task_times("everything", next(one for one in peers if one.tool == tool), own)


def _auto_annotate(bench: Bench) -> list[float]:
    photos, det, sam = bench.photos(bench.scaled(_PHOTOS)), bench.weights("det"), bench.weights("vit-b")
    done = bench.in_turn(
        {
            "ultralytics": lambda: _peer(
                "auto-annotate", photos, det, sam, bench.new_folder(), _MAX_DET, bench.options.device
            ),
            "samcli": bench.annotate,
        }
    )
    return _command_times(done, "ultralytics", "samcli")


def _encoder_rate(bench: Bench) -> list[float]:
    """Percent of the rate of matrix products that the encoder reaches, a round each."""
    if bench.on_gpu:
        raise NotHereError("measured on a CPU only")
    precision = machine(bench.options.device, bench.options)["precision"]
    script = [sys.executable, str(Path(__file__).with_name("rate.py")), "--json", "--precision", precision]
    done = bench.run([*script, "--rounds", str(bench.options.rounds)])
    return [100 * share for share in json.loads(done.output)["shares"]]


def _embeddings(bench: Bench) -> list[float]:
    """Percent of an image's time with stored embeddings that is neither detector nor mask decoder."""
    setup = replace(bench.setup(OWN, bench.options.images), det=str(bench.weights("det")))
    seconds = profile(setup, bench.options.rounds, bench.watch, ("box",))["box"]
    networks = seconds["detect"] + seconds["prompts"]
    return [100 * (1 - networks / (sum(seconds.values()) - seconds["resize"] - seconds["encode"]))]


def _memory(bench: Bench) -> list[float]:
    done = bench.everything()
    return _times([run.peak_mb for run in done["amg"]], [run.peak_mb for run in done["auto"]])


def _flat_memory(bench: Bench) -> list[float]:
    """Percent by which the last images' resident memory is above that of the first, by medians."""
    count, first = bench.scaled(_FLAT_IMAGES), bench.scaled(_FLAT_FIRST)
    images = many_pictures(bench.new_folder() / "images", count)
    journal = images.parent / "labels" / ".samcli" / "journal.jsonl"
    samples: list[tuple[int, float]] = []

    def watch(memory: float) -> None:
        done = journal.read_bytes().count(b"\n") if journal.exists() else 0
        samples.append((done, memory))

    run_command(annotate_command(images, bench.options), threads=bench.options.threads, watch=watch)
    early = [memory for done, memory in samples if first // 5 < done <= first]
    late = [memory for done, memory in samples if done > count - first]
    if not early or not late:
        raise NotHereError("the run was too short to look at: raise --extent")
    return [100 * (statistics.median(late) / statistics.median(early) - 1)]


def _overhead(bench: Bench) -> list[float]:
    """Percent of an image's time that is not the networks'."""
    setup = replace(bench.setup(OWN, max(4, bench.options.images)), model="tiny", weights="tiny", det="tiny")
    seconds = profile(setup, bench.options.rounds, bench.watch, ("box",))["box"]
    return [100 * (1 - sum(seconds[stage] for stage in NETWORK_STAGES) / sum(seconds.values()))]


def _rates(bench: Bench, command: Callable[[], list[str]]) -> list[float]:
    """Images a second, without loading."""
    done = [json.loads(run.output) for run in bench.in_turn({"samcli": command})["samcli"]]
    return [one["done"] / one["seconds"] for one in done]


def _gpu_everything(bench: Bench) -> list[float]:
    photos, sam = bench.photos(bench.scaled(_GPU_EVERYTHING)), bench.weights("vit-h")
    return _rates(
        bench,
        lambda: samcli_command(
            "everything", photos, "-o", bench.new_folder(), "--sam", sam, "--convert-to-rle", "--points-per-side",
            _POINTS, *bench.everywhere(),
        ),
    )  # fmt: skip


def _gpu_boxes(bench: Bench) -> list[float]:
    """Boxes come from a file: no detector takes part."""
    photos, sam = bench.photos(bench.scaled(_GPU_BOXES)), bench.weights("vit-b")
    objects = {
        ref.key: [
            {"box": box} for box in draw_boxes(bench.options.boxes, probe_image(ref, 10**9).image_size).tolist()
        ]
        for ref in find_images(photos)
    }
    prompts = bench.new_folder().with_suffix(".json")
    prompts.write_text(json.dumps({"images": objects}), encoding="utf-8")
    return _rates(
        bench,
        lambda: samcli_command(
            "prompt", photos, "-o", bench.new_folder(), "--sam", sam, "--prompts", prompts, *bench.everywhere()
        ),
    )


_VIT_B = "ViT-B"
_BOX, _EVERYTHING = ("vit-b", "box"), ("vit-b", "everything")
_ROWS = (
    Target("encode", f"encode, {_VIT_B}", "segment-anything, fp32", 1.5, "x", _encode, stages=_BOX,
           needs="segment-anything"),
    Target("encoder-rate", f"image encoder, {_VIT_B}", "the machine's matrix-product rate", 85, "%", _encoder_rate,
           stages=_BOX),
    Target("everything-amg", f"everything, {_VIT_B}, whole command", "segment-anything's amg.py", 8, "x",
           lambda bench: _command_times(bench.everything(), "amg", "auto"), stages=_EVERYTHING,
           needs="segment-anything"),
    Target("everything-ultralytics", f"everything, {_VIT_B}", "Ultralytics' SAM(...)(image)", 10, "x",
           functools.partial(_everything_peer, "ultralytics"), stages=_EVERYTHING),
    Target("everything-transformers", f"everything, {_VIT_B}", "transformers' pipeline", 6, "x",
           functools.partial(_everything_peer, "transformers"), stages=_EVERYTHING, needs="transformers"),
    Target("auto-annotate", f"auto-annotate, yolov8x and {_VIT_B}, whole command", "Ultralytics' auto_annotate", 7,
           "x", _auto_annotate, stages=_BOX),
    Target("embeddings", "auto-annotate with stored embeddings, all but detector and mask decoder", "the whole", 20,
           "%", _embeddings, most=True),
    Target("exact-encode", f"encode, {_VIT_B}, fp32", "segment-anything, fp32", 1.5, "x",
           functools.partial(_exact, "encode"), needs="segment-anything"),
    Target("exact-box", f"boxes, {_VIT_B}, fp32", "segment-anything, fp32", 2, "x",
           functools.partial(_exact, "box"), needs="segment-anything"),
    Target("exact-everything", f"everything, {_VIT_B}, fp32, whole command", "segment-anything's amg.py", 2, "x",
           lambda bench: _command_times(bench.everything(), "amg", "fp32"), needs="segment-anything"),
    Target("memory-everything", f"peak memory of everything, {_VIT_B}", "segment-anything's amg.py", 2, "x less",
           _memory, needs="segment-anything"),
    Target("memory-flat", "memory at the end of 10,000 images, tiny models", "its first 500", 2, "% more",
           _flat_memory, most=True),
    Target("resume-seconds", "resume, 1,000,000 journal lines, all done", "", 10, "s",
           lambda bench: [bench.resumed().seconds], most=True),
    Target("resume-memory", "the same: peak memory", "", 1024, "MB",
           lambda bench: [bench.resumed().peak_mb], most=True),
    Target("overhead", "all that is not network, tiny models", "the whole", 30, "%", _overhead, most=True,
           stages=("tiny", "box")),
    Target("gpu-everything", "everything, ViT-H, one GPU", "", 5, "img/s", _gpu_everything, gpu=True,
           stages=("vit-h", "everything")),
    Target("gpu-box", f"{_VIT_B}, boxes, decoding and writing included, one GPU", "", 150, "img/s", _gpu_boxes,
           gpu=True, stages=_BOX),
)  # fmt: skip
TARGETS = {row.name: row for row in _ROWS}
"""By name, in the order of the table."""


def print_targets(result: Targets) -> None:
    """Print each target beside what is reached; for those not met, where the time goes."""
    from rich.markup import escape

    console = new_console()
    table = new_table("name", "target", "min", "median", "max", "")
    for row in result.rows:
        target = row.target
        limit = f"{'<=' if target.most else '>='} {target.limit:g} {target.unit}"
        spread = row.spread
        cells = [f"{value:.2f}" for value in (spread.min, spread.median, spread.max)] if spread else ["-"] * 3
        met = {True: "[green]met[/]", False: "[red]not met[/]", None: ""}[row.met]
        table.add_row(target.name, limit, *cells, met)
    console.print(table)
    console.print()
    for row in result.rows:
        against = f", against {row.target.against}" if row.target.against else ""
        note = f" [yellow]{escape(row.note)}[/]" if row.note else ""
        console.print(f"{row.target.name}: {row.target.work}{against}{note}", soft_wrap=True)
    for row in result.rows:
        if row.stages:
            console.print()
            print_stages(console, f"not met: {row.target.name}", row.stages)
    console.print()
    print_legend(console, f"{result.options.rounds} rounds; met by the median.", result.machine)


def main(call: Call) -> None:
    """Measure the rows that were asked for and print them."""
    names = words(call.settings.only, TARGETS, "--only") or list(TARGETS)
    result = measure_targets(
        call.images, names, call.settings, call.watch, keep=lambda so_far: call.keep(so_far.as_dict())
    )
    if call.chart:
        charts.draw_targets(result, call.chart)
    print_targets(result)


if __name__ == "__main__":
    main(read_call(__doc__))
