"""Edges of everything, as in the SAM paper (Kirillov et al. 2023, section D.2).

A 16 x 16 grid of clicks, three masks each, no threshold; NMS; Sobel of each mask's probabilities, kept along
the mask's own boundary; the greatest over all masks, scaled to 0..1; thinned where a neighbour across the edge
is stronger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.config import MaskGeneratorOptions
from samcli.sam.mask_generator import Encode, Places, find_candidates
from samcli.types import Image

if TYPE_CHECKING:
    from samcli.sam.engine import Engine

EDGE_OPTIONS = MaskGeneratorOptions(points_per_side=16, pred_iou_thresh=0.0, stability_score_thresh=0.0)
"""The paper's; a threshold of 0 filters nothing."""

_SMOOTHING = 1.0
"""Of the edge map before its direction is read, sigma in pixels."""


def edge_map(engine: Engine, image: Image, encode: Encode | None = None) -> NDArray[np.uint8]:
    """Return the edge strength at every pixel of an image, uint8 (H, W), thinned to lines of about a pixel."""
    strongest = np.zeros(image.image_size, np.float32)
    for found in find_candidates(engine, image, EDGE_OPTIONS, Places(encode=encode), return_logits=True):
        logits, embedding = found.segment.low_res_logits, found.embedding
        if logits is None or embedding is None or not found.mask.area:
            continue
        slope = _slope(engine.probabilities(embedding, logits))
        slope[~_boundary(found.mask.pixels())] = 0
        np.maximum(strongest, slope, out=strongest)
    if strongest.max() > 0:
        strongest /= strongest.max()
    return np.round(thinned(strongest) * 255).astype(np.uint8)


def _slope(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Length of the gradient (Sobel) at every pixel."""
    across, down = (cv2.Sobel(values, cv2.CV_32F, *axis, ksize=3) for axis in ((1, 0), (0, 1)))
    return np.asarray(np.hypot(across, down), np.float32)


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels on either side of a mask's boundary."""
    pixels, block = mask.astype(np.uint8), np.ones((3, 3), np.uint8)
    return np.asarray(cv2.dilate(pixels, block) != cv2.erode(pixels, block), bool)


def thinned(edges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Edge strengths (H, W) with those suppressed that have a stronger neighbour across the edge."""
    smooth = cv2.GaussianBlur(edges, (0, 0), _SMOOTHING)
    # Across a ridge the second derivative is least: that eigenvector of the Hessian is the edge's normal.
    xx, yy, xy = (cv2.Sobel(smooth, cv2.CV_32F, *axes, ksize=5) for axes in ((2, 0), (0, 2), (1, 1)))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    rows, columns = np.indices(edges.shape, np.float32)
    step_x, step_y = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    keeps = np.ones(edges.shape, bool)
    for sign in (-1, 1):
        beside = cv2.remap(smooth, columns + sign * step_x, rows + sign * step_y, cv2.INTER_LINEAR)
        keeps &= smooth >= beside
    return np.where(keeps, edges, 0).astype(np.float32)
