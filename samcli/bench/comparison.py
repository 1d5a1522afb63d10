"""Measure models: time and memory of each task, and where the time of an image goes."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from samcli.bench.models import BenchModel, find_model
from samcli.bench.pictures import write_pictures
from samcli.bench.rotation import ContenderFigures, Spread, Watch, ratios, run_rotation, started
from samcli.bench.setup import OWN, TASKS, Setup
from samcli.checks import run_checks
from samcli.config import BenchOptions
from samcli.errors import SamcliError, UsageError, nearest
from samcli.images import find_images
from samcli.sam.devices import choose_device, choose_precision

_MODES = ("box", "everything")


@dataclass
class ModelFigures:
    """Measurements of one model. `stages`: seconds an image by mode (`box`, `everything`) and stage."""

    model: BenchModel
    contenders: list[ContenderFigures]
    stages: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def ratios(self) -> dict[str, dict[str, Spread]]:
        """Return the slowdown of the other tools, by tool and task."""
        own = self.contenders[0]
        return {other.tool: ratios(own, other) for other in self.contenders[1:] if other.tasks}


@dataclass
class Comparison:
    """All models, and on what they were measured."""

    machine: dict[str, Any]
    images: list[str]
    options: BenchOptions
    models: list[ModelFigures]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "machine": self.machine,
            "images": self.images,
            "options": self.options.values(),
            "models": [
                {
                    **asdict(one.model),
                    "tools": [{**asdict(tool), "peak_mb": tool.peak_mb} for tool in one.contenders],
                    "ratios": {
                        tool: {task: asdict(spread) for task, spread in by_task.items()}
                        for tool, by_task in one.ratios.items()
                    },
                    "stages": one.stages,
                }
                for one in self.models
            ],
        }


def compare(
    images: Path | None,
    options: BenchOptions,
    watch: Watch = lambda line: None,
    others: Sequence[Callable[[Setup], Setup]] = (),
) -> Comparison:
    """Measure the models of the options, one after the other.

    `images`: an image or a folder; None: drawn pictures. `others`: each makes of samcli's setup that of another
    tool; all tools with a model take turns.

    Raises:
        UsageError: an unknown task or model, or a model that is not on this machine.
    """
    tasks = words(options.tasks, TASKS, "--tasks")
    device = str(choose_device(options.device))
    with tempfile.TemporaryDirectory(prefix="samcli-bench-") as temporary:
        folder = Path(temporary)
        names = [name.strip() for name in options.models.split(",") if name.strip()]
        if not names:
            raise UsageError("--models names no model")
        models = [
            find_model(name, folder / "weights", random_weights=options.random_weights, watch=watch)
            for name in dict.fromkeys(names)
        ]
        called = Counter(model.name for model in models)
        models = [
            replace(model, name=name) if called[model.name] > 1 else model  # two files of one name in two folders
            for name, model in zip(dict.fromkeys(names), models, strict=True)
        ]
        paths = bench_images(images, options.images, folder / "pictures")
        found = []
        for model in models:
            own = setup_for(model, paths, options, device)
            setups = [own, *(other(own) for other in others)]
            figures = ModelFigures(model, run_rotation(setups, tasks, options.rounds, watch))
            if figures.contenders[0].missing:
                raise SamcliError(f"{model.name} cannot be measured: {figures.contenders[0].missing}")
            if options.stages:
                figures.stages = profile(own, options.rounds, watch)
            found.append(figures)
    return Comparison(machine(device, options), [path.name for path in paths], options, found)


def words(text: str | None, known: Iterable[str], flag: str) -> list[str]:
    """Return the words between the commas, each one of those that are known.

    Raises:
        UsageError: one is not.
    """
    given = list(dict.fromkeys(word.strip() for word in (text or "").split(",") if word.strip()))
    for word in given:
        if word not in known:
            raise UsageError(f"{flag}: unknown '{word}'.{nearest(word, known)} Known: {', '.join(known)}")
    return given


def bench_images(images: Path | None, count: int, folder: Path) -> list[Path]:
    """Return the first `count` images of those given, or as many drawn ones."""
    if images is None:
        return write_pictures(folder, count)
    return [ref.path for ref in find_images(images)[:count]]


def setup_for(model: BenchModel, paths: Sequence[Path], options: BenchOptions, device: str) -> Setup:
    """Return what samcli's worker is told about a model."""
    return Setup(
        tool=OWN,
        model=model.name,
        weights=model.weights,
        images=tuple(map(str, paths)),
        device=device,
        precision=options.precision,
        threads=options.threads,
        boxes=options.boxes,
        points_per_side=options.points_per_side,
    )


def profile(
    setup: Setup, rounds: int, watch: Watch = lambda line: None, modes: Sequence[str] = _MODES
) -> dict[str, dict[str, float]]:
    """Mean seconds an image by mode and stage; nothing for a model that is one network from end to end."""
    sums: dict[str, dict[str, float]] = {}
    with started([setup]) as (worker,):
        worker.load()
        for mode in modes:
            for number in range(rounds + 1):  # the first warms up
                for image in range(len(setup.images) if number else 1):
                    watch(f"{setup.model}: stages of {mode}")
                    answer = worker.ask(stages=mode, image=image)
                    if "unsupported" in answer:
                        return {}
                    if "error" in answer:
                        raise SamcliError(f"{setup.model}: {answer['error']}")
                    if number:
                        _add(sums.setdefault(mode, {}), answer["stages"], rounds * len(setup.images))
    return sums


def _add(sums: dict[str, float], seconds: dict[str, float], count: int) -> None:
    for stage, value in seconds.items():
        sums[stage] = sums.get(stage, 0.0) + value / count


def machine(device: str, options: BenchOptions) -> dict[str, Any]:
    """Return a description of the machine on which the figures were measured."""
    import torch

    checks = run_checks()
    return {
        "samcli": checks["samcli"],
        "system": checks["system"],
        "packages": checks["packages"],
        "cpu": checks["cpu"],
        "gpus": checks["gpus"],
        "device": device,
        "precision": choose_precision(options.precision, torch.device(device)),
    }
