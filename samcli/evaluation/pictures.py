"""Pictures of an evaluation: figures as a plot, and the worst images with both sides' outlines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.drawing import caption, outlined
from samcli.errors import ImageError, UsageError
from samcli.evaluation.evaluate import EvaluatedImage, Evaluation, KindScores
from samcli.files import write_atomic
from samcli.images import read_image
from samcli.plots import check_plot, check_sheet, save_figure
from samcli.review.contact_sheet import contact_sheet
from samcli.types import ImageRef

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TILE = 640
"""Side of an image on the sheet, in pixels."""

_TRUTH, _PREDICTION = (60, 230, 60), (255, 60, 220)
"""RGB of outlines."""

_LEGEND_HEIGHT = 26

_MOST_CLASSES = 20


def check_pictures(plot: Path | None, worst: Path | None) -> None:
    """Before the work: can the pictures that are asked for be written?

    Raises:
        UsageError: a name ends in something that they cannot be.
        WriteError: one cannot be written there.
    """
    if plot:
        check_plot(plot)
    if worst:
        check_sheet(worst, "--worst")


def write_worst(evaluation: Evaluation, target: Path, count: int) -> int:
    """Put the worst images on one PNG: the truth in green, predictions in magenta; how many they are.

    Raises:
        UsageError: the images are not known to be anywhere, or none of them can be read.
    """
    if evaluation.image_root is None:
        raise UsageError("--worst needs the images; give their folder with --images")
    scores = evaluation.kinds[evaluation.main]
    by_key = {image.key: image for image in evaluation.images}
    tiles = [_tile(by_key[key], scores, evaluation.image_root) for key in scores.worst(count)]
    found = [tile for tile in tiles if tile is not None]
    if tiles and not found:
        raise UsageError(f"none of the worst images can be read in {evaluation.image_root}")
    if found:
        _, png = cv2.imencode(".png", _with_legend(contact_sheet(found))[..., ::-1])
        write_atomic(target, png.tobytes())
    return len(found)


def _with_legend(sheet: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the sheet with a bar above it that explains the colours of the outlines."""
    bar = np.full((_LEGEND_HEIGHT, sheet.shape[1], 3), 20, np.uint8)
    left, base = 8, _LEGEND_HEIGHT - 8
    for text, colour in (("ground truth", _TRUTH), ("prediction", _PREDICTION)):
        cv2.rectangle(bar, (left, base - 10), (left + 16, base), colour, -1)
        cv2.putText(bar, text, (left + 22, base), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        left += 40 + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0]
    return np.concatenate([bar, sheet])


def _tile(image: EvaluatedImage, scores: KindScores, root: Path) -> NDArray[np.uint8] | None:
    """One image with both sides' outlines, and what is wrong with it; None where it cannot be read."""
    try:
        pixels = read_image(ImageRef(root, image.key)).pixels
    except ImageError:
        return None
    sides = ((image.truth, _TRUTH, 3), (image.predicted, _PREDICTION, 1))
    shapes = [(one.mask or one.box, color, width) for objects, color, width in sides for one in objects]
    tile = outlined(pixels, shapes, _TILE)
    own = scores.by_image[image.key]
    first = next(iter(own.at.values()))
    missed, wrong = first.false_negatives, first.false_positives
    caption(tile, f"{image.key}  quality {own.quality or 0:.2f}  missed {missed}  wrong {wrong}")
    return tile


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
    axes.set(xlabel="IoU of matched objects", ylabel="objects", xlim=(0.5, 1), title="IoU of matched objects")


def _plot_classes(axes: Axes, scores: KindScores) -> None:
    known = {name: one for name, one in scores.by_class.items() if one.ap is not None}
    shown = sorted(known, key=lambda name: (-known[name].truth, name))[:_MOST_CLASSES]
    shown.sort(key=lambda name: known[name].ap or 0)
    axes.barh([f"{name} ({known[name].truth})" for name in shown], [known[name].ap or 0 for name in shown])
    axes.set(xlabel="AP", xlim=(0, 1), title="AP per class (number of ground-truth objects)")
