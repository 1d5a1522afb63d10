"""Tune: which of auto-annotate's options suit these images, found on a few whose truth is known.

Every combination of values is tried, on networks that run as seldom as can be: for each image the detector once,
at the lowest confidence, and the encoder once; then SAM once for each way of prompting it. Higher confidences
are a matter of leaving objects out, and polygons are made for the best combination alone.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from samcli.checkpoints.registry import find_all_weights
from samcli.config import (
    AutoAnnotateOptions,
    DetectorOptions,
    EvalOptions,
    SearchOptions,
    TileOptions,
    TuneOptions,
)
from samcli.detectors.base import Detector
from samcli.detectors.loading import detector_name
from samcli.errors import ImageError, UsageError, missing_path
from samcli.evaluation.evaluate import EvaluatedImage, Evaluation, Scores, kinds_of, pair_objects, plain_scores
from samcli.evaluation.ground_truth import EvaluatedLabels, EvaluatedObject, match_keys, object_of
from samcli.evaluation.metrics import IouType, mask_of
from samcli.files import check_writable, write_atomic
from samcli.images import find_images, read_image
from samcli.jobs.auto_annotate import (
    BoxAnnotator,
    BoxSegmenter,
    SamMasks,
    TiledSamMasks,
    open_detector,
    open_vocabulary,
)
from samcli.jobs.class_mapping import open_class_map
from samcli.jobs.segmenting import Encoder, device_for, open_engine
from samcli.jobs.views import TiledAsker, open_tiling
from samcli.jobs.worker import StageClock
from samcli.labels.formats.base import polygon_options
from samcli.masks import Box
from samcli.polygons import draw, label_points, mask_to_polygons
from samcli.sam.devices import choose_device, choose_precision
from samcli.sam.engine import Engine
from samcli.types import Annotation, Embedding, Image, ImageRef, Size

log = logging.getLogger("samcli")

TRIED = ("conf", "box_padding", "best_mask", "refine", "tile")
"""Options of which every combination is tried; polygons come after."""

WHOLE = "off"
"""Value of `--tile` for images that are taken whole."""

_SWITCH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}

Watch = Callable[[int], None]


@dataclass(frozen=True)
class Trial:
    """One combination of values, and how good the masks are that it gives."""

    values: Mapping[str, Any]
    """Of the options in `TRIED`, by name; no `tile` where images are taken whole."""
    objective: float
    scores: Scores

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        first = next(iter(self.scores.at.values()))
        return {
            **self.values,
            "objective": self.objective,
            "quality": self.scores.quality,
            "mean_iou": self.scores.mean_iou,
            "precision": first.precision,
            "recall": first.recall,
            "f1": first.f1,
        }


@dataclass(frozen=True)
class PolygonTrial:
    """One fidelity of polygons, with the best of all else."""

    min_polygon_iou: float
    objective: float
    """Of the polygons as a trainer draws them."""
    points: float
    """Mean number in the polygons of an object."""
    iou: float
    """Mean IoU of polygons and the masks they were made of."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(vars(self))


@dataclass
class Tuning:
    """Trials and the best of them."""

    objective: str
    images: int
    objects: int
    """In the truth."""
    trials: list[Trial]
    """The best first."""
    polygons: list[PolygonTrial]
    recipe: dict[str, Any]
    """The best options for auto-annotate, by name."""
    kind: IouType = "mask"
    left_out: dict[str, str] = field(default_factory=dict)
    """Images that could not be read, and why."""
    notes: list[str] = field(default_factory=list)

    @property
    def best(self) -> Trial:
        return self.trials[0]

    @property
    def with_defaults(self) -> Trial | None:
        """Return the trial of auto-annotate's defaults, if they were among the values."""
        wanted = _tried(AutoAnnotateOptions())
        return next((trial for trial in self.trials if trial.values == wanted), None)

    @property
    def exit_status(self) -> int:
        """0 all images were looked at; 3 some could not be."""
        return 3 if self.left_out else 0

    def yaml(self) -> str:
        """Return the best recipe as auto-annotate's `--config` takes it."""
        import yaml

        defaults = self.with_defaults
        than = "" if defaults is None else f" (with the defaults {defaults.objective:.3f})"
        return (
            f"# samcli tune: {self.objective} {self.best.objective:.3f}{than}, "
            f"{self.objects} objects in {self.images} images\n"
        ) + yaml.safe_dump(self.recipe, sort_keys=False, allow_unicode=True)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        defaults = self.with_defaults
        return {
            "objective": self.objective,
            "images": self.images,
            "objects": self.objects,
            "evaluated": self.kind,
            "recipe": self.recipe,
            "best": self.best.as_dict(),
            "with_defaults": defaults.as_dict() if defaults else None,
            "trials": [trial.as_dict() for trial in self.trials],
            "polygons": [trial.as_dict() for trial in self.polygons],
            "left_out": self.left_out,
            "notes": self.notes,
        }


def tune(images: Path, truth: EvaluatedLabels, options: TuneOptions, watch: Watch = lambda count: None) -> Tuning:
    """Try all combinations on the images that the truth lists; `watch` is told how many images are done.

    Raises:
        UsageError: a value cannot be tried, or the truth has no object in these images.
        WeightsError: a checkpoint is refused, damaged, or not what it should be.
    """
    base = _base(options)
    settings, confidences = list(_settings(options, base)), _values(options.search, "conf")
    fidelities = [base.with_values(min_polygon_iou=value) for value in _values(options.search, "min_polygon_iou")]
    refs, notes = _labelled(images, truth)
    labels, left_out = _label(refs, settings, watch)
    result = Tuning(options.objective, 0, 0, [], [], {}, left_out=left_out, notes=notes)
    paired: dict[tuple[Any, ...], list[EvaluatedImage]] = {}
    for setting, own in zip(settings, labels, strict=True):
        found = pair_objects(own, truth, EvalOptions(match="score"))
        if not paired:
            _describe(result, found)
        paired[_way(_tried(setting))] = found.images
        for conf in confidences:
            score, figures = _score(_surer(found.images, conf), result.kind, options.objective)
            result.trials.append(Trial(_tried(setting.with_values(conf=conf)), score, figures))
    result.trials.sort(key=_rank)
    values = result.best.values
    chosen = _surer(paired[_way(values)], values["conf"])
    result.polygons = [_try_polygons(chosen, fidelity, result.kind, options.objective) for fidelity in fidelities]
    result.recipe = _recipe(options, result)
    if not result.best.objective:
        result.notes.append("no prediction matches the ground truth: check the detector, its classes and --truth")
    return result


def _describe(result: Tuning, found: Evaluation) -> None:
    """Return what is evaluated; it is the same for every way of prompting."""
    result.kind = kinds_of(found)[0]
    result.notes += found.notes
    result.left_out |= found.left_out
    result.images = len(found.images)
    result.objects = sum(not one.crowd for image in found.images for one in image.truth)
    if not result.objects:
        raise UsageError(f"the truth has no object in {result.images} images; expected some to tune by")


def _way(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return a way of prompting SAM: the values of all that is tried but for the confidence."""
    return tuple(values.get(name) for name in TRIED[1:])


def _base(options: TuneOptions) -> AutoAnnotateOptions:
    """Return the options that all trials share."""
    if options.segmenter.sam == "none":
        raise UsageError("--sam none has no prompts to tune; expected a SAM checkpoint")
    return AutoAnnotateOptions(
        input=options.input,
        detector=options.detector,
        tiles=options.tiles,
        text_prompt=options.text_prompt,
        segmenter=options.segmenter,
        filters=options.filters,
        class_mapping=options.class_mapping,
    )


def _settings(options: TuneOptions, base: AutoAnnotateOptions) -> Iterator[AutoAnnotateOptions]:
    """Yield the ways to prompt SAM, all at the lowest confidence."""
    confidences = _values(options.search, "conf")
    for conf in confidences:
        base.with_values(conf=conf)  # checks it
    names = TRIED[1:]
    for values in itertools.product(*(_values(options.search, name) for name in names)):
        yield base.with_values(conf=min(confidences), **dict(zip(names, values, strict=True)))


def _values(search: SearchOptions, name: str) -> list[Any]:
    """Return the values to try of one option.

    Raises:
        UsageError: there is none, or one is of another kind.
    """
    kinds: dict[str, Callable[[str], Any]] = {
        "best_mask": lambda word: _SWITCH[word.lower()], "refine": int,
        "tile": lambda word: None if word == WHOLE else TileOptions(tile=word).tile,
    }  # fmt: skip
    text = getattr(search, name)
    try:
        values = [kinds.get(name, float)(word.strip()) for word in text.split(",") if word.strip()]
    except (ValueError, KeyError) as error:
        wanted = {"best_mask": "no, yes, or no,yes", "refine": "whole numbers"}.get(name, "numbers")
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"{flag} is '{text}'; expected {wanted}, separated by commas") from error
    if not values:
        raise UsageError(f"--{name.replace('_', '-')} is empty; expected at least one value to try")
    unique = list(dict.fromkeys(values))
    return unique if name == "tile" else sorted(unique)


def _tried(setting: AutoAnnotateOptions) -> dict[str, Any]:
    values = setting.values()
    return {name: values[name] for name in TRIED if name != "tile" or values[name] is not None}


def _labelled(images: Path, truth: EvaluatedLabels) -> tuple[list[ImageRef], list[str]]:
    """Return the images that the truth lists."""
    if not images.exists():
        raise missing_path(images, "a folder of images")
    refs = find_images(images)
    known = match_keys([ref.key for ref in refs], list(truth.keys()))
    if not known:
        first = next(iter(truth.keys()), "")
        raise UsageError(
            f"no image in common: the first of {len(refs)} is '{refs[0].key}', the first of the truth '{first}'"
        )
    without = len(refs) - len(known)
    notes = [f"{without} of {len(refs)} images have no ground truth: left out"] if without else []
    return [ref for ref in refs if ref.key in known], notes


class _FoundLabels:
    """Labels from one way of prompting SAM, as `EvaluatedLabels`."""

    image_root = None
    file_ids: Mapping[int, int] = {}
    lost: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()

    def __init__(self, names: Mapping[int, str]) -> None:
        self.names = names
        self._annotations: dict[str, Annotation] = {}

    def add(self, annotation: Annotation) -> None:
        self._annotations[annotation.key] = annotation

    def keys(self) -> Sequence[str]:
        return list(self._annotations)

    def image_size(self, key: str) -> Size:
        return self._annotations[key].image_size

    def objects(self, key: str, image_size: Size) -> list[EvaluatedObject]:
        return [object_of(instance) for instance in self._annotations[key].instances]


class _EncodesOnce(Encoder):
    """Keeps the embeddings of the image at hand and of its tiles."""

    def __init__(self, engine: Engine, clock: StageClock) -> None:
        super().__init__(engine, None, clock)
        self._last: tuple[Image, Embedding] | None = None
        self._tiles: tuple[Image, dict[Box, Embedding]] | None = None

    def encode(self, images: Sequence[Image]) -> list[Embedding]:
        """Encode one image."""
        (image,) = images
        if self._last is None or self._last[0] is not image:
            self._last = image, super().encode(images)[0]
        return [self._last[1]]

    def encode_tile(self, image: Image, tile: Box) -> Embedding:
        """See Encoder."""
        if self._tiles is None or self._tiles[0] is not image:
            self._tiles = image, {}
        known = self._tiles[1]
        if tile not in known:
            known[tile] = super().encode_tile(image, tile)
        return known[tile]


def _label(
    refs: Sequence[ImageRef], settings: Sequence[AutoAnnotateOptions], watch: Watch
) -> tuple[list[_FoundLabels], dict[str, str]]:
    """Labels of each setting, made image by image; and the images that cannot be read, with the reason."""
    first, clock = settings[0], StageClock()
    engine, detectors = _load(first, [setting.tiles for setting in settings])
    encoder = _EncodesOnce(engine, clock)
    on_cpu = engine.device.type == "cpu"
    annotators = [
        BoxAnnotator(
            detectors[setting.tiles], _segmenter(engine, encoder, setting, clock), setting, clock, on_cpu=on_cpu
        )
        for setting in settings
    ]
    labels = [_FoundLabels(annotator.names) for annotator in annotators]
    left_out: dict[str, str] = {}
    for count, ref in enumerate(refs, 1):
        try:
            image = read_image(ref, max_pixels=first.input.max_pixels)
        except ImageError as error:
            left_out[ref.key] = str(error)
        else:
            found = {tiles: detector.detect([image]) for tiles, detector in detectors.items()}
            for one, annotator, setting in zip(labels, annotators, settings, strict=True):
                (finding,) = annotator.label([image], found[setting.tiles])
                one.add(finding.annotation)
        watch(count)
    if len(left_out) == len(refs):
        key, reason = next(iter(left_out.items()))
        raise UsageError(f"none of {len(refs)} images could be read; {key}: {reason}")
    return labels, left_out


def _segmenter(engine: Engine, encoder: Encoder, options: AutoAnnotateOptions, clock: StageClock) -> BoxSegmenter:
    whole = SamMasks(engine, encoder, options.prompting, clock)
    tiling = open_tiling(options.tiles, options.detector.imgsz, engine.side)
    if tiling is None:
        return whole
    return TiledSamMasks(whole, TiledAsker(engine, encoder, tiling, options.prompting, clock), options.prompting)


def _load(options: AutoAnnotateOptions, every: Sequence[TileOptions]) -> tuple[Engine, dict[TileOptions, Detector]]:
    """Return SAM, and the detector for each way to divide images."""
    class_map, vocabulary = open_class_map(options.class_mapping), open_vocabulary(options.text_prompt)
    det = detector_name(options.detector.det, options.text_prompt.text)
    weights = find_all_weights({"det": det, "sam": options.segmenter.sam}, log.info)
    precision = choose_precision(options.segmenter.precision, choose_device(options.segmenter.device))
    engine = open_engine(weights["sam"], options.segmenter, precision)
    device = device_for(options.segmenter, precision)
    return engine, {
        tiles: open_detector(
            weights["det"], options, device, precision, class_map=class_map, vocabulary=vocabulary,
            tiling=open_tiling(tiles, options.detector.imgsz, engine.side),
        )
        for tiles in dict.fromkeys(every)
    }  # fmt: skip


def _surer(images: Sequence[EvaluatedImage], conf: float) -> list[EvaluatedImage]:
    """Return the detections above a confidence, as if the detector had run with it, in float32."""
    least = float(np.float32(conf))
    return [
        replace(image, predicted=[one for one in image.predicted if (one.score or 0.0) > least]) for image in images
    ]


def _score(images: Sequence[EvaluatedImage], kind: IouType, objective: str) -> tuple[float, Scores]:
    overall, by_class = plain_scores(images, kind, by_score=True)
    if objective == "f1":
        return next(iter(overall.at.values())).f1 or 0.0, overall
    if objective == "class-quality":
        qualities = [one.quality or 0.0 for one in by_class.values() if one.truth]
        return float(np.mean(qualities)) if qualities else 0.0, overall
    return overall.quality or 0.0, overall


def _rank(trial: Trial) -> tuple[float, ...]:
    """Return the sort key of a trial: best first, then the least work for SAM, then nearest to the defaults."""
    values = trial.values
    from_default = abs(values["conf"] - DetectorOptions.conf)
    work = "tile" in values, values["refine"], values["best_mask"]
    return -trial.objective, *work, abs(values["box_padding"]), from_default


def _try_polygons(
    images: Sequence[EvaluatedImage], options: AutoAnnotateOptions, kind: IouType, objective: str
) -> PolygonTrial:
    """Return the masks replaced by what a trainer draws of their polygons."""
    shapes = polygon_options(options.labels)
    points: list[int] = []
    ious: list[float] = []
    drawn = []
    for image in images:
        objects = []
        for one in image.predicted:
            polygons = mask_to_polygons(mask_of(one), shapes)
            points.append(sum(map(len, polygons.rings)))
            ious.append(polygons.iou)
            if polygons.rings:
                mask = draw([label_points(ring, *image.image_size) for ring in polygons.rings], image.image_size)
                x1, y1, x2, y2 = mask.box or (0, 0, 0, 0)
                objects.append(replace(one, mask=mask, box=(float(x1), float(y1), float(x2), float(y2))))
        drawn.append(replace(image, predicted=objects))
    score, _ = _score(drawn, kind, objective)
    mean_points, mean_iou = (float(np.mean(values)) if values else 0.0 for values in (points, ious))
    return PolygonTrial(options.labels.min_polygon_iou, score, mean_points, mean_iou)


def _recipe(options: TuneOptions, result: Tuning) -> dict[str, Any]:
    """Return the given options that change labels, with the best values found."""
    defaults = AutoAnnotateOptions().recipe()
    given = {
        name: value for name, value in options.recipe().items() if name in ("det", "sam") or value != defaults[name]
    }
    least = max(trial.objective for trial in result.polygons) - options.tolerance
    polygon = min(
        (t for t in result.polygons if t.objective >= least), key=lambda t: (t.points, -t.min_polygon_iou)
    )
    return {**given, **result.best.values, "min_polygon_iou": polygon.min_polygon_iou}


def check_output(path: Path) -> None:
    """Before the work: can the recipe be written there?

    Raises:
        UsageError: there is no such folder, or it is one.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"--output {path}: expected a file in a folder that exists, e.g. recipe.yaml")
    check_writable(path)


def write_recipe(result: Tuning, path: Path) -> None:
    """The best recipe, as YAML."""
    write_atomic(path, result.yaml().encode())
