"""Evaluate labels against ground truth: IoU, precision, recall, COCO's average precision, and the worst images."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from samcli.config import EvalOptions
from samcli.errors import ImageError, NothingMatchedError, UsageError, counted
from samcli.evaluation.ground_truth import EvaluatedLabels, EvaluatedObject, match_keys, unclear_keys
from samcli.evaluation.metrics import (
    MOST_PREDICTIONS,
    SIZES,
    IouType,
    Matches,
    average_precision,
    boundary_iou,
    iou_matrix,
    mask_of,
    match_objects,
    predicted_area,
    size_of,
    truth_area,
)
from samcli.images import find_images, probe_image
from samcli.images.pages import with_all_pages
from samcli.labels.class_map import ClassMap
from samcli.output.authors import author_counts
from samcli.types import UNNAMED, Author, ImageRef, Size

THRESHOLDS = (0.5, 0.75)
"""IoU from which a prediction counts as right."""

_MAX_PIXELS = 2_000_000_000
_SHOWN = 3


@dataclass(frozen=True)
class AtThreshold:
    """Counts and metrics at one IoU threshold."""

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float | None:
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        return _ratio(
            2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives
        )


@dataclass(frozen=True)
class Scores:
    """Metrics of all objects, or of a class, a size, an image. None: undefined, e.g. without objects."""

    truth: int
    predicted: int
    mean_iou: float | None
    """Of the pairs matched at IoU 0.5."""
    boundary_iou: float | None
    """Of the same pairs (Cheng et al. 2021); masks only."""
    quality: float | None
    """Panoptic quality (Kirillov et al. 2019): mean IoU times F1, at IoU 0.5."""
    at: Mapping[float, AtThreshold]
    ap: float | None = None
    ap50: float | None = None
    ap75: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "truth": self.truth,
            "predicted": self.predicted,
            "mean_iou": self.mean_iou,
            "boundary_iou": self.boundary_iou,
            "quality": self.quality,
            "at": {
                f"{threshold:g}": {
                    "true_positives": one.true_positives,
                    "false_positives": one.false_positives,
                    "false_negatives": one.false_negatives,
                    "precision": one.precision,
                    "recall": one.recall,
                    "f1": one.f1,
                }
                for threshold, one in self.at.items()
            },
            "ap": self.ap,
            "ap50": self.ap50,
            "ap75": self.ap75,
        }


@dataclass(frozen=True)
class KindScores:
    """All figures of masks, or of boxes."""

    overall: Scores
    by_class: Mapping[str, Scores]
    by_size: Mapping[str, Scores]
    by_image: Mapping[str, Scores]
    ious: Sequence[float]
    """Of the pairs matched at IoU 0.5."""
    curves: Mapping[float, NDArray[np.float64]]
    """IoU threshold -> precision at recall 0, 0.01 ... 1."""

    def worst(self, count: int) -> list[str]:
        """Keys of the images with the lowest quality, then with the most mistakes; perfect ones are left out."""
        wrong = {key: one for key, one in self.by_image.items() if one.quality is not None and one.quality < 1}
        return sorted(wrong, key=lambda key: (wrong[key].quality, -_mistakes(wrong[key]), key))[:count]


def _mistakes(scores: Scores) -> int:
    first = scores.at[THRESHOLDS[0]]
    return first.false_positives + first.false_negatives


@dataclass(frozen=True)
class EvaluatedImage:
    """One image's objects, of both sides, with class ids that both share."""

    key: str
    image_size: Size
    truth: Sequence[EvaluatedObject]
    predicted: Sequence[EvaluatedObject]


@dataclass
class Evaluation:
    """Result of an evaluation against ground truth."""

    names: dict[int, str]
    """Shared class id -> name."""
    classes_matched_by: str
    matched_by: str
    """score or iou."""
    kinds: dict[IouType, KindScores] = field(default_factory=dict)
    images: list[EvaluatedImage] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Images that could not be evaluated, and why."""
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """Reasons why the metrics are meaningless."""
    image_root: Path | None = None

    @property
    def main(self) -> IouType:
        """Return the kind that the worst images go by."""
        return "mask" if "mask" in self.kinds else "box"

    @property
    def exit_status(self) -> int:
        """0 all evaluated; 3 some could not be, or the figures say nothing."""
        return 3 if self.left_out or self.warnings else 0

    @property
    def authors(self) -> dict[str, Counter[Author]]:
        """Return the numbers of objects by author of `predicted` and `truth`, of the sides that are runs."""
        sides = {
            "predicted": (one for image in self.images for one in image.predicted),
            "truth": (one for image in self.images for one in image.truth),
        }
        counts = {side: Counter(one.author for one in found if one.author) for side, found in sides.items()}
        return {side: found for side, found in counts.items() if found}

    def as_dict(self, worst_count: int) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "images": len(self.images),
            "left_out": self.left_out,
            "classes_matched_by": self.classes_matched_by,
            "matched_by": self.matched_by,
            "notes": self.notes,
            "warnings": self.warnings,
            "sizes": {name: [low, high if name != "large" else None] for name, (low, high) in SIZES.items()},
            **{f"{side}_by_author": author_counts(counts) for side, counts in self.authors.items()},
            **{
                kind: {
                    "overall": scores.overall.as_dict(),
                    "by_class": {name: one.as_dict() for name, one in scores.by_class.items()},
                    "by_size": {name: one.as_dict() for name, one in scores.by_size.items()},
                    "worst": {key: scores.by_image[key].as_dict() for key in scores.worst(worst_count)},
                }
                for kind, scores in self.kinds.items()
            },
        }


def evaluate(
    predictions: EvaluatedLabels,
    truth: EvaluatedLabels,
    options: EvalOptions,
    *,
    images: Path | None = None,
    class_map: ClassMap | None = None,
) -> Evaluation:
    """Evaluate predictions against ground truth, image by image and class by class.

    `images`: a folder; just its images are evaluated, and those without a prediction count as missed. None:
    the images that both list. `class_map`: names of the predicted classes in the ground truth.

    Raises:
        UsageError: the two have no image in common, or the classes cannot be matched as asked for.
    """
    found = pair_objects(predictions, truth, options, images=images, class_map=class_map)
    for kind in kinds_of(found):
        found.kinds[kind] = _kind_scores(found, kind)
    found.notes += _uncounted(found)
    return found


def _uncounted(found: Evaluation) -> Iterator[str]:
    """Say in how many images COCO's average precision leaves predictions out."""
    crowded = sum(
        max(Counter(one.class_id for one in image.predicted).values(), default=0) > MOST_PREDICTIONS
        for image in found.images
    )
    if crowded:
        yield (
            f"{crowded} images have more than {MOST_PREDICTIONS} predictions of a class: AP counts the best "
            f"{MOST_PREDICTIONS} of each, as COCO's does; all other figures count all"
        )


def pair_objects(
    predictions: EvaluatedLabels,
    truth: EvaluatedLabels,
    options: EvalOptions,
    *,
    images: Path | None = None,
    class_map: ClassMap | None = None,
) -> Evaluation:
    """Return the objects of both sides, image by image, with classes that both share; no figures yet. See
    `evaluate`.
    """
    classes = _make_classes(predictions, truth, options, class_map)
    found = Evaluation({}, classes.matched_by, "", image_root=images or predictions.image_root)
    found.left_out |= {**predictions.lost, **truth.lost}
    pairs = _pairs(predictions, truth, images, found)
    for key, predicted_key, truth_key in pairs:
        try:
            size = _size(key, (predictions, predicted_key), (truth, truth_key), image_root=found.image_root)
            there = truth.objects(truth_key, size)
            here = predictions.objects(predicted_key, size) if predicted_key is not None else []
            found.images.append(EvaluatedImage(key, size, classes.truth(there), classes.predictions(here)))
        except ImageError as error:
            found.left_out[key] = str(error)
    if not found.images:
        key, reason = next(iter(found.left_out.items()))
        raise UsageError(f"none of {len(pairs)} images could be evaluated; {key}: {reason}")
    found.names = classes.names
    found.notes[:0] = [*predictions.notes, *truth.notes]  # of what was left out while the objects were read, too
    found.notes += classes.notes()
    found.warnings += [*classes.warnings(), *_all_crowds(found)]
    found.matched_by = _matched_by(found, options)
    return found


def _all_crowds(found: Evaluation) -> Iterator[str]:
    """Say that a side has crowd regions alone, in which nothing is right or wrong."""
    sides = (
        ("ground truth", [one for image in found.images for one in image.truth]),
        ("predictions", [one for image in found.images for one in image.predicted]),
    )
    for side, objects in sides:
        if objects and all(one.crowd for one in objects):
            remedy = "samcli convert FILE --to coco --crowds keep converts them to single objects"
            yield f"{side}: every object is a crowd region (iscrowd), as CVAT writes masks; {remedy}"


def _pairs(
    predictions: EvaluatedLabels, truth: EvaluatedLabels, images: Path | None, found: Evaluation
) -> list[tuple[str, str | None, str]]:
    """(key, key in the predictions, key in the truth) of the images to evaluate; others are left out of `found`."""
    notes = found.notes
    known, true = list(predictions.keys()), list(truth.keys())
    if images is None:
        keys, predicted = known, {key: key for key in known}
    else:
        refs = find_images(images)
        if any("#" in key for key in (*known, *true)):
            refs = with_all_pages(refs)
        keys = [ref.key for ref in refs]
        predicted = match_keys(keys, known)
        found.left_out |= unclear_keys(keys, known, predicted)
    truths = match_keys(keys, true)
    found.left_out |= unclear_keys(keys, true, truths)
    if not truths:
        raise NothingMatchedError(
            f"no image in common: the first of {len(keys)} is '{keys[0]}', the first of the ground truth "
            f"'{true[0] if true else ''}'; expected paths with the same end (the suffix may differ)"
        )
    without = len(keys) - len(truths)
    if without:
        notes.append(f"{without} of {len(keys)} images have no ground truth: left out")
    if images is None and len(true) > len(truths):
        notes.append(
            f"{counted(len(true) - len(truths), 'image')} of the ground truth left out: no prediction "
            "(--images DIR counts their objects as missed)"
        )
    missed = [key for key in truths if key not in predicted]
    if missed:
        notes.append(f"{counted(len(missed), 'image')} without a prediction: their objects count as missed")
    return [(key, predicted.get(key), truths[key]) for key in keys if key in truths]


def _size(key: str, *sides: tuple[EvaluatedLabels, str | None], image_root: Path | None) -> Size:
    """Return the image's own, from its header, or else what either side states."""
    if image_root is not None and ImageRef(image_root, key).path.is_file():
        return probe_image(ImageRef(image_root, key), _MAX_PIXELS).image_size
    for labels, own_key in sides:
        if own_key is not None and (size := labels.image_size(own_key)) is not None:
            return size
    if image_root is None:
        raise UsageError("neither predictions nor ground truth state the image sizes; give --images DIR")
    return probe_image(ImageRef(image_root, key), _MAX_PIXELS).image_size


class _Classes:
    """Shared class ids, given out as classes come."""

    def __init__(
        self,
        matched_by: str,
        truth: Mapping[int, str] | None,
        predicted: Mapping[int, str] | None,
        *,
        numbers: tuple[Mapping[int, int], Mapping[int, int]] = ({}, {}),
        by: str = "",
    ) -> None:
        self.matched_by, self._numbers, self._by = matched_by, numbers, by
        self._truth, self._predicted = truth or {}, predicted or {}
        self._dropped: set[int] = set()
        self._ids: dict[str | int, int] = {}
        self.names: dict[int, str] = {}
        self._seen: tuple[set[int], set[int]] = (set(), set())
        """Shared ids that the predictions and the truth have; the truth's declared ones count."""
        for class_id, name in sorted(self._truth.items()):
            self._shared(class_id, name, 1)

    def drop(self, ids: set[int]) -> None:
        """Predictions of these classes are left out."""
        self._dropped = ids

    def truth(self, objects: Sequence[EvaluatedObject]) -> list[EvaluatedObject]:
        """With shared class ids."""
        return [
            replace(one, class_id=self._shared(one.class_id, self._truth.get(one.class_id), 1)) for one in objects
        ]

    def predictions(self, objects: Sequence[EvaluatedObject]) -> list[EvaluatedObject]:
        """With shared class ids, without those of dropped classes."""
        return [
            replace(one, class_id=self._shared(one.class_id, self._predicted.get(one.class_id), 0))
            for one in objects
            if one.class_id not in self._dropped
        ]

    def _shared(self, class_id: int, name: str | None, side: int) -> int:
        if self.matched_by == "nothing":
            self.names[0] = UNNAMED
            return 0
        name = name or f"class {class_id}"
        identity: str | int = name if self.matched_by == "name" else self._numbers[side].get(class_id, class_id)
        shared = self._ids.setdefault(identity, len(self._ids))
        self.names.setdefault(shared, name)
        self._seen[side].add(shared)
        return shared

    def warnings(self) -> list[str]:
        """Yield a warning if predictions and ground truth have no class in common: every metric is 0 then."""
        mine, true = self._seen
        if self.matched_by == "nothing" or not mine or mine & true:
            return []
        first, other = (self.names[min(seen, default=0)] if seen else "none" for seen in (mine, true))
        remedy = "--class-map" if self.matched_by == "name" else "--names and --truth-names"
        return [
            f"no class id in common (predicted: {first}; ground truth: {other}): no object can match. "
            f"Give {remedy}, or --class-agnostic"
            if self.matched_by == "id"
            else f"no class name in common (predicted: {first}; ground truth: {other}): no object can match. "
            f"Give {remedy}, or --class-agnostic"
        ]

    def notes(self) -> list[str]:
        """Return a note on predicted classes that the ground truth lacks: most likely two names for one class."""
        if self.matched_by == "id":
            return [self._by]
        if self.matched_by == "nothing":
            return []
        unknown = sorted(self.names[shared] for shared in self._seen[0] - self._seen[1])
        if not unknown:
            return []
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        return [
            f"predicted classes without ground truth: {', '.join(unknown[:_SHOWN])}{more} (rename: --class-map)"
        ]


def _make_classes(
    predictions: EvaluatedLabels, truth: EvaluatedLabels, options: EvalOptions, class_map: ClassMap | None
) -> _Classes:
    if options.class_agnostic:
        return _Classes("nothing", None, None)
    named = predictions.names is not None and truth.names is not None
    if options.match_classes == "name" and not named:
        side = "predictions have" if predictions.names is None else "ground truth has"
        raise UsageError(f"--match-classes name: the {side} no class names; give --names or --truth-names")
    by = "name" if named and options.match_classes != "id" else "id"
    names = predictions.names
    dropped: set[int] = set()
    if class_map is not None:
        if by == "id" or names is None:
            raise UsageError("--class-map needs classes matched by name; give --names and --truth-names")
        mapped = class_map.apply(names)
        dropped = {old for old, new in mapped.ids.items() if new is None}
        names = {old: mapped.names[new] for old, new in mapped.ids.items() if new is not None}
    numbers, how = _numbers(predictions, truth)
    classes = _Classes(by, truth.names, names, numbers=numbers, by=how)
    classes.drop(dropped)
    return classes


def _numbers(
    predictions: EvaluatedLabels, truth: EvaluatedLabels
) -> tuple[tuple[Mapping[int, int], Mapping[int, int]], str]:
    """By which numbers classes without names on one side are the same, and how to say so.

    COCO's category ids are arbitrary, other labels count classes from 0: then the order of category ids counts.
    """
    if predictions.file_ids and truth.file_ids:
        return (predictions.file_ids, truth.file_ids), "classes matched by category id"
    for side, labels in (("ground truth", truth), ("predictions", predictions)):
        if labels.file_ids and labels.file_ids != {index: index for index in labels.file_ids}:
            first = labels.file_ids[min(labels.file_ids)]
            name = (labels.names or {}).get(min(labels.file_ids), "")
            how = f"class 0 is the first category of the {side} (id {first}, '{name}'), then in order of id"
            return ({}, {}), f"classes matched by id: {how} (names: --names, --truth-names)"
    return ({}, {}), "classes matched by id: one side has no class names (--names, --truth-names)"


def _matched_by(found: Evaluation, options: EvalOptions) -> str:
    predicted = [one for image in found.images for one in image.predicted]
    scored = sum(one.score is not None for one in predicted)
    if scored < len(predicted):
        found.notes.append(
            f"{len(predicted) - scored} of {len(predicted)} predictions have no score: AP ranks all as equal"
        )
        if options.match == "score":
            raise UsageError("--match score: some predictions have no score; use --match iou")
    if options.match != "auto":
        return options.match
    return "score" if scored == len(predicted) else "iou"


def kinds_of(found: Evaluation) -> list[IouType]:
    """Return masks and boxes, or boxes alone if one side has no masks."""
    for side, objects in (
        ("ground truth has", [one for image in found.images for one in image.truth]),
        ("predictions have", [one for image in found.images for one in image.predicted]),
    ):
        boxes = sum(one.mask is None for one in objects)
        if boxes:
            some = (
                "boxes only" if boxes == len(objects) else f"{boxes} boxes without a mask ({len(objects)} objects)"
            )
            found.notes.append(f"the {side} {some}: box metrics only")
            return ["box"]
    return ["mask", "box"]


@dataclass(frozen=True, slots=True)
class _Event:
    """Verdict on one object at one IoU threshold."""

    threshold: float
    what: Literal["tp", "fp", "fn"]
    class_id: int
    size: str
    """Of the truth, or of a prediction that is none."""
    iou: float = 0.0
    boundary: float = 0.0


@dataclass
class _Sums:
    """Events of a group of objects, added up."""

    iou: float = 0.0
    boundary: float = 0.0
    counts: Counter[tuple[float, str]] = field(default_factory=Counter)

    def add(self, event: _Event) -> None:
        self.counts[event.threshold, event.what] += 1
        if event.threshold == THRESHOLDS[0]:
            self.iou += event.iou
            self.boundary += event.boundary

    def scores(self, kind: IouType, ap: Sequence[float | None] = (None, None, None)) -> Scores:
        at = {
            threshold: AtThreshold(*(self.counts[threshold, what] for what in ("tp", "fp", "fn")))
            for threshold in THRESHOLDS
        }
        first = at[THRESHOLDS[0]]
        mean_iou = _ratio(self.iou, first.true_positives)
        return Scores(
            truth=first.true_positives + first.false_negatives,
            predicted=first.true_positives + first.false_positives,
            mean_iou=mean_iou,
            boundary_iou=_ratio(self.boundary, first.true_positives) if kind == "mask" else None,
            quality=None if first.f1 is None else first.f1 * (mean_iou or 0.0),
            at=at,
            ap=ap[0],
            ap50=ap[1],
            ap75=ap[2],
        )


def _kind_scores(found: Evaluation, kind: IouType) -> KindScores:
    overall, ious = _Sums(), []
    by_class: dict[int, _Sums] = defaultdict(_Sums)
    by_size: dict[str, _Sums] = defaultdict(_Sums)
    by_image: dict[str, _Sums] = {}
    for image in found.images:
        own = by_image[image.key] = _Sums()
        for event in _events(image, kind, by_score=found.matched_by == "score"):
            for sums in (overall, own, by_class[event.class_id], by_size[event.size]):
                sums.add(event)
            if event.what == "tp" and event.threshold == THRESHOLDS[0]:
                ious.append(event.iou)
    class_ids = sorted(found.names)
    ap = average_precision([(i.image_size, i.truth, i.predicted) for i in found.images], class_ids, kind)
    return KindScores(
        overall=overall.scores(kind, (ap.ap, ap.ap50, ap.ap75)),
        by_class={found.names[i]: by_class[i].scores(kind, ap.by_class[i]) for i in class_ids if i in by_class},
        by_size={name: by_size[name].scores(kind, value) for name, value in ap.by_size.items()},
        by_image={key: sums.scores(kind) for key, sums in by_image.items()},
        ious=ious,
        curves=ap.curves,
    )


def plain_scores(
    images: Sequence[EvaluatedImage], kind: IouType, *, by_score: bool
) -> tuple[Scores, dict[int, Scores]]:
    """Figures of all objects, and by class id, without those that take long: boundary IoU and AP."""
    overall, by_class = _Sums(), defaultdict[int, _Sums](_Sums)
    for image in images:
        for event in _events(image, kind, by_score=by_score, boundaries=False):
            overall.add(event)
            by_class[event.class_id].add(event)
    return overall.scores("box"), {class_id: sums.scores("box") for class_id, sums in by_class.items()}


@dataclass(frozen=True)
class MatchedObjects:
    """Numbers of the objects of an image that are matched at the first threshold. Ignored ones count as matched:
    predictions in crowd regions, and these regions.
    """

    truth: frozenset[int]
    predicted: frozenset[int]


def matched_objects(image: EvaluatedImage, kind: IouType, *, by_score: bool) -> MatchedObjects:
    """Return the objects of an image that are neither missed nor wrong."""
    truth = {number for number, one in enumerate(image.truth) if one.crowd}
    predicted: set[int] = set()
    for one in _class_pairs(image, kind, by_score=by_score):
        matches = one.matches(THRESHOLDS[0])
        truth |= {one.truth[t] for _, t in matches.pairs}
        predicted |= {one.predicted[p] for p in (*(p for p, _ in matches.pairs), *matches.ignored)}
    return MatchedObjects(frozenset(truth), frozenset(predicted))


@dataclass(frozen=True)
class _ClassPairs:
    """The objects of one class in an image, by their numbers, and what matching needs."""

    class_id: int
    truth: Sequence[int]
    predicted: Sequence[int]
    ious: NDArray[np.float64]
    crowd: Sequence[bool]
    scores: Sequence[float] | None

    def matches(self, threshold: float) -> Matches:
        return match_objects(self.ious, self.crowd, threshold, self.scores)


def _class_pairs(image: EvaluatedImage, kind: IouType, *, by_score: bool) -> Iterator[_ClassPairs]:
    """Yield the objects of an image class by class."""
    for class_id in sorted({one.class_id for one in (*image.truth, *image.predicted)}):
        truth = [number for number, one in enumerate(image.truth) if one.class_id == class_id]
        predicted = [number for number, one in enumerate(image.predicted) if one.class_id == class_id]
        there, here = [image.truth[number] for number in truth], [image.predicted[number] for number in predicted]
        scores = [one.score or 0.0 for one in here] if by_score else None
        crowd = [one.crowd for one in there]
        yield _ClassPairs(class_id, truth, predicted, iou_matrix(here, there, kind), crowd, scores)


def _events(image: EvaluatedImage, kind: IouType, *, by_score: bool, boundaries: bool = True) -> Iterator[_Event]:
    """Yield the verdicts on the objects of an image, class by class."""
    for pairs in _class_pairs(image, kind, by_score=by_score):
        class_id, ious = pairs.class_id, pairs.ious
        truth = [image.truth[number] for number in pairs.truth]
        predicted = [image.predicted[number] for number in pairs.predicted]
        for threshold in THRESHOLDS:
            matches = pairs.matches(threshold)
            with_boundary = boundaries and kind == "mask" and threshold == THRESHOLDS[0]
            for p, t in matches.pairs:
                boundary = boundary_iou(mask_of(predicted[p]), mask_of(truth[t])) if with_boundary else 0.0
                size = size_of(truth_area(truth[t]))
                yield _Event(threshold, "tp", class_id, size, float(ious[p, t]), boundary)
            partners, found = ({pair[side] for pair in matches.pairs} for side in (0, 1))
            for p, one in enumerate(predicted):
                if p not in partners and p not in matches.ignored:
                    yield _Event(threshold, "fp", class_id, size_of(predicted_area(one, kind)))
            for t, one in enumerate(truth):
                if t not in found and not one.crowd:
                    yield _Event(threshold, "fn", class_id, size_of(truth_area(one)))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
