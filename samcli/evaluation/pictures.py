"""Pictures of an evaluation: figures as a plot, and the worst images with both sides' outlines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.drawing import Stroke, caption, legend, outlined
from samcli.errors import ImageError, UsageError
from samcli.evaluation.evaluate import EvaluatedImage, Evaluation, KindScores, matched_objects
from samcli.files import write_atomic
from samcli.images import read_image
from samcli.masks import Mask
from samcli.plots import check_plot, check_sheet, save_figure
from samcli.review.contact_sheet import contact_sheet
from samcli.types import ImageRef

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TILE = 640
"""Side of an image on the sheet, in pixels."""

_MISSED, _TRUTH = ((255, 200, 0), 5), ((0, 114, 255), 5)
_WRONG, _PREDICTION = ((255, 0, 190), 2), ((255, 255, 255), 1)
"""Strokes of outlines. The ground truth is drawn first, with wide lines, then predictions, with narrow ones: where
two coincide, both are visible. The colours also differ for colour-blind eyes."""

_LEGEND = (
    ("matched: ground truth", _TRUTH),
    ("matched: prediction", _PREDICTION),
    ("missed (ground truth)", _MISSED),
    ("wrong (prediction)", _WRONG),
)

_MOST_CLASSES = 20


def check_pictures(plot: Path | None, worst: Path | None) -> None:
    """Check, before the work, that the pictures can be written.

    Raises:
        UsageError: a name ends in something that they cannot be.
        WriteError: one cannot be written there.
    """
    if plot:
        check_plot(plot)
    if worst:
        check_sheet(worst, "--worst")


def write_worst(evaluation: Evaluation, target: Path, count: int) -> int:
    """Write a PNG with the worst images and their matched, missed and wrong objects. Return the number of images.

    Raises:
        UsageError: the images are not known to be anywhere, or none of them can be read.
    """
    if evaluation.image_root is None:
        raise UsageError("--worst needs the images; give their folder with --images")
    scores = evaluation.kinds[evaluation.main]
    by_key = {image.key: image for image in evaluation.images}
    root = evaluation.image_root
    tiles = [_tile(by_key[key], evaluation, root) for key in scores.worst(count)]
    found = [tile for tile in tiles if tile is not None]
    if tiles and not found:
        raise UsageError(f"none of the worst images can be read in {evaluation.image_root}")
    if found:
        sheet = contact_sheet(found)
        _, png = cv2.imencode(".png", np.concatenate([legend(sheet.shape[1], _LEGEND), sheet])[..., ::-1])
        write_atomic(target, png.tobytes())
    return len(found)


def _tile(image: EvaluatedImage, evaluation: Evaluation, root: Path) -> NDArray[np.uint8] | None:
    """Return one image with the outlines of both sides and its metrics; None if it cannot be read."""
    try:
        pixels = read_image(ImageRef(root, image.key)).pixels
    except ImageError:
        return None
    own = evaluation.kinds[evaluation.main].by_image[image.key]
    tile = outlined(pixels, _shapes(image, evaluation), _TILE)
    first = next(iter(own.at.values()))
    missed, wrong = first.false_negatives, first.false_positives
    caption(tile, f"{image.key}: quality {own.quality or 0:.3f}, missed {missed}, wrong {wrong}")
    return tile


def _shapes(image: EvaluatedImage, evaluation: Evaluation) -> list[tuple[Mask | Sequence[float], Stroke]]:
    """Return what is outlined, in the order of drawing: wide lines of the ground truth below narrow ones."""
    found = matched_objects(image, evaluation.main, by_score=evaluation.matched_by == "score")
    truth = [(one, _TRUTH if number in found.truth else _MISSED) for number, one in enumerate(image.truth)]
    predicted = [
        (one, _PREDICTION if number in found.predicted else _WRONG) for number, one in enumerate(image.predicted)
    ]
    ordered = sorted([*truth, *predicted], key=lambda item: -item[1][1])
    kind = evaluation.main
    return [((one.mask if kind == "mask" else None) or one.box, stroke) for one, stroke in ordered]


def write_plot(evaluation: Evaluation, target: Path) -> None:
    """Precision over recall, the IoU of matched objects, and AP by class, as PNG, SVG or PDF."""
    from matplotlib.figure import Figure

    check_plot(target)
    figure = Figure(figsize=(15, 5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    scores, kind = evaluation.kinds[evaluation.main], evaluation.main
    _plot_curves(left, scores)
    _plot_ious(middle, scores)
    _plot_classes(right, scores)
    figure.suptitle(f"{kind.capitalize()} metrics, {len(evaluation.images)} images")
    save_figure(figure, target)


def _plot_curves(axes: Axes, scores: KindScores) -> None:
    for threshold, precision in scores.curves.items():
        axes.plot(np.linspace(0, 1, len(precision)), precision, label=f"IoU {threshold:g}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="Precision-recall curve")
    axes.legend()


def _plot_ious(axes: Axes, scores: KindScores) -> None:
    axes.hist(scores.ious, bins=np.linspace(0.5, 1, 26).tolist())
    axes.set(
        xlabel="IoU of matched objects", ylabel="number of objects", xlim=(0.5, 1), title="IoU of matched objects"
    )


def _plot_classes(axes: Axes, scores: KindScores) -> None:
    known = {name: one for name, one in scores.by_class.items() if one.ap is not None}
    shown = sorted(known, key=lambda name: (-known[name].truth, name))[:_MOST_CLASSES]
    shown.sort(key=lambda name: known[name].ap or 0)
    axes.barh([f"{name} ({known[name].truth})" for name in shown], [known[name].ap or 0 for name in shown])
    axes.set(xlabel="AP", xlim=(0, 1), title="AP per class (number of ground-truth objects)")
