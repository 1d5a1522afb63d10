"""The detector protocol: images to boxes, class ids and scores, and from segmentation models to masks too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samcli.errors import UsageError, nearest
from samcli.masks import Mask, box_iou
from samcli.types import Detections, Image, Size

if TYPE_CHECKING:
    from samcli.labels.vocabulary import Vocabulary


class Detector(Protocol):
    """Anything that finds objects. `names`: class id to class name."""

    names: dict[int, str]

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """One Detections for each image, best score first; boxes in pixels of the original image."""
        ...


@dataclass(frozen=True)
class DetectorSettings:
    """Settings of a detector, each named as its option.

    `imgsz`: None for what the file was trained with. `masks`: detections come with the model's own masks.
    `vocabulary`: what a detector is to look for that finds what words name. `text_threshold`: the score above
    which a token counts as said of a box, for models that score each token.
    """

    conf: float = 0.25
    iou: float = 0.45
    imgsz: int | None = 640
    max_det: int = 300
    classes: str | None = None
    device: str = "auto"
    precision: str = "auto"
    masks: bool = False
    trust_weights: bool = False
    vocabulary: Vocabulary | None = None
    text_threshold: float = 0.25

    def class_ids(self, names: dict[int, str]) -> list[int] | None:
        """Return the ids of the classes that were asked for; None: all.

        Raises:
            UsageError: `classes` names one that is not among `names`.
        """
        return None if self.classes is None else parse_classes(self.classes, names)


def parse_classes(text: str, names: dict[int, str]) -> list[int]:
    """Class ids for `person,bus` or `0,5` or a mixture.

    Raises:
        UsageError: an unknown name or id; the known ones are listed.
    """
    by_name = {name.lower(): key for key, name in names.items()}
    ids = []
    for word in (part.strip() for part in text.split(",")):
        if word.lower() in by_name:
            ids.append(by_name[word.lower()])
        elif word.isdigit() and int(word) in names:
            ids.append(int(word))
        elif word:
            known = ", ".join(f"{key} {name}" for key, name in names.items())
            raise UsageError(
                f"the detector knows no class '{word}'.{nearest(word.lower(), by_name)} It knows: {known}"
            )
    if not ids:
        raise UsageError(f"--classes '{text}' names no class")
    return sorted(set(ids))


def same_size_groups(images: Sequence[Image], at_once: int | None = None) -> Iterator[list[int]]:
    """Positions of images that may go through a network together: those of one size, `at_once` at most.

    Images of unequal sizes are padded otherwise than single ones, and what is found must not depend on the
    neighbours in a batch.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(image.image_size, []).append(index)
    for members in groups.values():
        step = at_once or len(members)
        for start in range(0, len(members), step):
            yield members[start : start + step]


@dataclass(frozen=True)
class Selection:
    """Criteria for a model's answers to count as detections.

    `class_ids`: None for all. `nms_iou`: of two boxes of one class that overlap by more than this, only the
    higher-scoring one is kept; None: all are.
    """

    max_det: int
    class_ids: Sequence[int] | None = None
    nms_iou: float | None = None

    def detections(
        self,
        boxes: ArrayLike,
        class_ids: ArrayLike,
        scores: ArrayLike,
        size: Size,
        *,
        masks: Sequence[Mask] | None = None,
        prompts: NDArray[np.int64] | None = None,
    ) -> Detections:
        """Boxes (N, 4) xyxy in pixels of an image of `size`, cut to it, best score first; those without area go.

        `prompts` (N,): boxes that one prompt found are different objects, however much they overlap.
        """
        table, ids, sure = np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(class_ids), np.asarray(scores)
        height, width = size
        with np.errstate(invalid="ignore"):
            table = np.clip(table, 0, (width, height, width, height), dtype=np.float32)
        order = np.argsort(-sure, kind="stable")
        keep = order[self._usable(table, ids, sure)[order]]
        if self.nms_iou is not None and self.nms_iou < 1:
            if prompts is None:
                keep = keep[_without_overlaps(table[keep], ids[keep], sure[keep], self.nms_iou)]
            else:
                keep = keep[_without_rivals(table[keep], ids[keep], prompts[keep], self.nms_iou)]
        keep = keep[: self.max_det]
        kept_masks = None if masks is None else tuple(masks[index] for index in keep.tolist())
        return Detections(table[keep], ids[keep], sure[keep], kept_masks)

    def _usable(
        self, boxes: NDArray[np.float32], ids: NDArray[np.integer], scores: NDArray[np.floating]
    ) -> NDArray[np.bool_]:
        usable: NDArray[np.bool_] = np.isfinite(boxes).all(1) & np.isfinite(scores)
        usable &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        if self.class_ids is not None:
            usable &= np.isin(ids, self.class_ids)
        return usable


def _without_overlaps(
    boxes: NDArray[np.float32], ids: NDArray[np.integer], scores: NDArray[np.floating], iou: float
) -> NDArray[np.int64]:
    """Positions that are left by NMS within each class, in order; the best score counts first."""
    import torch
    from torchvision.ops import batched_nms

    kept = batched_nms(
        torch.from_numpy(boxes), torch.from_numpy(np.float32(scores)), torch.from_numpy(np.int64(ids)), iou
    )
    kept_in_order: NDArray[np.int64] = np.sort(kept.numpy())
    return kept_in_order


def _without_rivals(
    boxes: NDArray[np.float32], ids: NDArray[np.integer], prompts: NDArray[np.int64], iou: float
) -> list[int]:
    """Positions without those of which another prompt of the same class found a better one at the same place."""
    corners = boxes.tolist()
    kept: list[int] = []
    for place in range(len(boxes)):
        rivals = (other for other in kept if ids[other] == ids[place] and prompts[other] != prompts[place])
        if all(box_iou(corners[other], corners[place]) <= iou for other in rivals):
            kept.append(place)
    return kept
