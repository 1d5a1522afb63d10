"""torchvision's detectors: Faster and Mask R-CNN, RetinaNet, FCOS, SSD and SSDlite.

The network is told from the tensors' names and shapes. Boxes, labels, scores and masks are torchvision's own, with
`--conf`, `--iou` and `--max-det` in the place of its thresholds; a mask is pasted into the image one by one, where
torchvision holds all of them as numbers of 32 bits at the size of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from samcli.detectors.base import DetectorSettings, Selection, same_size_groups
from samcli.errors import WeightsError
from samcli.labels.class_names import read_names
from samcli.masks import Mask
from samcli.sam.devices import choose_device, compute_exactly
from samcli.types import Detections, Image, Size

Tensors = Mapping[str, Tensor]

_COCO_CLASSES = 91
"""What the published files know, the background and the gaps in COCO's numbering included."""

_CLASS_TENSORS = (
    "roi_heads.box_predictor.cls_score.bias",
    "head.classification_head.cls_logits.bias",
    "head.classification_head.module_list.0.bias",
    "head.classification_head.module_list.0.1.bias",
)
"""Tensors with a number for each class: of R-CNNs; of RetinaNet and FCOS, of SSD and of SSDlite for each anchor."""

_MASK_THRESHOLD = 0.5


def is_torchvision(tensors: Tensors) -> bool:
    """Return whether these are the tensors of one of torchvision's detectors."""
    return any(name in tensors for name in _CLASS_TENSORS) and any(name.startswith("backbone.") for name in tensors)


def load_torchvision(tensors: Tensors, path: Path, settings: DetectorSettings) -> TorchvisionDetector:
    """Return the detector that these tensors are. `path`: where they were read.

    Class names are COCO's where the file has as many classes, else those in a file of the same name that ends in
    `.yaml`, with `names` as in a data.yaml.

    Raises:
        WeightsError: no detector of torchvision has these tensors, or it has no masks though they are asked for.
        UsageError: the names are missing or do not fit, or the device is not here.
    """
    builder = _builder_of(tensors, path)
    if settings.masks and not builder.startswith("maskrcnn"):
        raise WeightsError(
            f"{path.name} ({builder}) finds boxes without masks: give --sam a checkpoint, or --det a Mask R-CNN"
        )
    network = _build(builder, _class_count(tensors, builder), settings)
    network.load_state_dict(dict(tensors), strict=True)
    place = choose_device(settings.device)
    compute_exactly()
    return TorchvisionDetector(network.to(place).eval(), _names(tensors, builder, path), settings, place)


def _builder_of(tensors: Tensors, path: Path) -> str:
    """Return the name of torchvision's function whose network has exactly these tensors.

    Where two networks differ in the size of their input alone, the file's name decides.
    """
    from torchvision.models import detection, list_models

    fitting: list[str] = []
    for builder in list_models(module=detection):
        if not builder.startswith("keypoint"):
            count = _class_count(tensors, builder)
            if count is not None and _shapes(_on_nothing(builder, count)) == _shapes(tensors):
                fitting.append(builder)
    if not fitting:
        raise WeightsError(
            f"{path.name} has the names of torchvision's detectors, but fits none of them exactly: a backbone of "
            "another kind, or tensors are missing"
        )
    named = [builder for builder in fitting if path.name.startswith(builder)]
    return max(named, key=len) if named else min(fitting, key=len)


def _shapes(tensors: Tensors) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _on_nothing(builder: str, classes: int) -> dict[str, Tensor]:
    """Return the tensors of a network that has shapes and no numbers."""
    from torchvision.models import get_model

    with torch.device("meta"):
        tensors: dict[str, Tensor] = get_model(
            builder, weights=None, weights_backbone=None, num_classes=classes
        ).state_dict()
    return tensors


_ANCHORS = {"retinanet": 9, "fcos": 1, "ssd300": 4, "ssdlite": 6}
"""By the beginning of a builder's name: boxes for each place, of which each has a number for each class."""


def _class_count(tensors: Tensors, builder: str) -> int | None:
    """Number of classes, the background included, if a builder's network made these tensors."""
    anchors = next((count for start, count in _ANCHORS.items() if builder.startswith(start)), 1)
    numbers = next((len(tensors[name]) for name in _CLASS_TENSORS if name in tensors), 0)
    return numbers // anchors if numbers and numbers % anchors == 0 else None


def _build(builder: str, classes: int | None, settings: DetectorSettings) -> Any:
    from torchvision.models import get_model

    rcnn = "rcnn" in builder
    start = "box_" if rcnn else ""
    limits = {
        f"{start}score_thresh": settings.conf,
        f"{start}nms_thresh": settings.iou,
        f"{start}detections_per_img": settings.max_det,
    }
    return get_model(builder, weights=None, weights_backbone=None, num_classes=classes, **limits)


def _names(tensors: Tensors, builder: str, path: Path) -> dict[int, str]:
    """Return the model's numbers and names, without the background (0 by torchvision's convention)."""
    from torchvision.models import get_model_weights

    count = _class_count(tensors, builder) or 0
    beside = path.with_suffix(".yaml")
    if beside.is_file():
        names = read_names(beside)
        if max(names) >= count - 1:
            raise WeightsError(f"{beside} names class {max(names)}; {path.name} has {count - 1} classes")
        return {number + 1: name for number, name in names.items()}
    if count != _COCO_CLASSES:
        raise WeightsError(
            f"{path.name} has {count - 1} classes without names: write them to {beside}, e.g. names: [cat, dog]"
        )
    categories = next(iter(get_model_weights(builder))).meta["categories"]
    return {number: name for number, name in enumerate(categories) if number}


class TorchvisionDetector:
    """A detector of torchvision behind the protocol `Detector`."""

    def __init__(
        self, network: Any, labels: Mapping[int, str], settings: DetectorSettings, device: torch.device
    ) -> None:
        """`labels`: the network's numbers and names.

        Raises:
            UsageError: the settings ask for a class that it does not know.
        """
        from samcli.detectors.closed_vocabulary import ModelClasses

        self._network = network
        self._classes = ModelClasses(labels)
        self._masks = settings.masks
        self._device = device
        self.names = self._classes.names
        self._selection = Selection(settings.max_det, settings.class_ids(self.names))
        if settings.masks:  # else the network itself would paste all of them into the image
            network.transform.postprocess = _leaving_masks(network.transform.postprocess)

    @torch.inference_mode()
    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """See Detector. On a CPU the images go through one by one."""
        found: dict[int, Detections] = {}
        for part in same_size_groups(images, 1 if self._device.type == "cpu" else None):
            answers = self._network([self._pixels(images[index]) for index in part])
            for index, answer in zip(part, answers, strict=True):
                found[index] = self._detections(answer, images[index].image_size)
        return [found[index] for index in range(len(images))]

    def _pixels(self, image: Image) -> Tensor:
        """(3, H, W) float32 in 0..1, as torchvision's own `to_tensor` makes it."""
        return torch.tensor(image.pixels).permute(2, 0, 1).to(self._device).float() / 255

    def _detections(self, answer: Mapping[str, Tensor], size: Size) -> Detections:
        ids, known = self._classes.of(answer["labels"].cpu().numpy())
        masks = None
        if self._masks:
            pasted = (_pasted(mask, box, size) for mask, box in zip(answer["masks"], answer["boxes"], strict=True))
            masks = [mask for mask, good in zip(pasted, known.tolist(), strict=True) if good]
        boxes, scores = answer["boxes"].cpu().numpy(), answer["scores"].cpu().numpy()
        return self._selection.detections(boxes[known], ids[known], scores[known], size, masks=masks)


Postprocess = Callable[[list[dict[str, Tensor]], Any, Any], list[dict[str, Tensor]]]


def _leaving_masks(postprocess: Postprocess) -> Postprocess:
    """torchvision's resizing of boxes to the original image, which leaves masks (N, 1, 28, 28) as they are."""

    def wrapped(result: list[dict[str, Tensor]], image_shapes: Any, original_sizes: Any) -> list[dict[str, Tensor]]:
        masks = [one.pop("masks") for one in result]
        resized = postprocess(result, image_shapes, original_sizes)
        return [{**one, "masks": own} for one, own in zip(resized, masks, strict=True)]

    return wrapped


def _pasted(mask: Tensor, box: Tensor, size: Size) -> Mask:
    """Return a mask's probabilities (1, 28, 28), resized to its box and cut at a half, as `paste_mask_in_image`
    does.
    """
    from torchvision.models.detection.roi_heads import expand_boxes, expand_masks

    framed, scale = expand_masks(mask[None], 1)
    x1, y1, x2, y2 = expand_boxes(box[None], scale).to(torch.int64)[0].tolist()
    resized = functional.interpolate(framed, size=(max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)), mode="bilinear")[0, 0]
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2 + 1, size[1]), min(y2 + 1, size[0])
    pixels = resized[top - y1 : bottom - y1, left - x1 : right - x1] > _MASK_THRESHOLD
    return Mask.from_pixels(pixels.cpu().numpy(), (left, top), size)
