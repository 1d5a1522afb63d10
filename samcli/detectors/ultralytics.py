"""Detectors: images to boxes, class ids and scores, and from segmentation models to masks too."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samcli.checkpoints.damage import check_undamaged
from samcli.checkpoints.pickles import refusal
from samcli.checkpoints.registry import WeightsFile, find_weights
from samcli.checkpoints.torchvision_setup import import_torchvision
from samcli.checkpoints.ultralytics_setup import keep_threads, prepare_ultralytics
from samcli.detectors.base import parse_classes, same_size_groups
from samcli.errors import WeightsError, one_line
from samcli.types import Detections, Image

log = logging.getLogger("samcli")

_EXPORTED = (".onnx", ".torchscript")
_SUFFIXES = (".pt", *_EXPORTED)


def load_detector(
    weights: WeightsFile | str,
    *,
    conf: float = 0.25,
    iou: float = 0.45,
    imgsz: int | None = 640,
    max_det: int = 300,
    classes: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    masks: bool = False,
    trust_weights: bool = False,
) -> UltralyticsDetector:
    """Return a detector out of any file that Ultralytics reads: YOLOv5u to YOLO26, RT-DETR, also exported ones.

    `weights`: a file, or what `--det` takes: a known name, a path, or `tiny`. `imgsz`: None for what the file
    was trained with. `masks`: detections come with the model's own masks. An exported model computes as
    it was exported, whatever `precision` is. The rest as on the command line.

    Raises:
        WeightsError: the file is refused, damaged, no detector, or has no masks though they are asked for.
        UsageError: `classes` names a class that the detector does not know, or the device is not here.
    """
    from samcli.sam.devices import choose_device, choose_precision

    place = choose_device(device)
    precision = choose_precision(precision, place)
    if isinstance(weights, str):
        weights = find_weights(weights, "det", log.info)
    if trust_weights:
        log.warning("%s may run any code while it is loaded (--trust-weights)", weights.path)
    prepare_ultralytics(trust_weights=trust_weights)
    model, names = _load_model(weights.path, trust_weights)
    if masks and model.task != "segment":
        raise WeightsError(
            f"{weights.path.name} finds boxes without masks; expected a segmentation model, e.g. yolov8n-seg.pt"
        )
    settings: dict[str, Any] = {"conf": conf, "iou": iou, "max_det": max_det, "device": str(place)}
    if imgsz is not None:
        settings["imgsz"] = imgsz
    if classes is not None:
        settings["classes"] = parse_classes(classes, names)
    base = _mask_predictor() if masks else model.task_map[model.task]["predictor"]
    settings["predictor"] = _own_predictor(base, "fp32" if is_exported(weights.path) else precision)
    return UltralyticsDetector(model, names, settings)


def is_exported(path: Path | str) -> bool:
    """Return whether a detector's file is a program, made from a network for one kind of arithmetic."""
    return Path(path).suffix in _EXPORTED


def _load_model(path: Path, trusted: bool) -> tuple[Any, dict[int, str]]:
    """Ultralytics' model, and the names of its classes."""
    if path.suffix not in _SUFFIXES:
        raise WeightsError(f"{path} is no detector: expected {', '.join(_SUFFIXES)}")
    if path.suffix == ".onnx":
        try:
            import onnxruntime  # noqa: F401
        except ImportError as error:
            raise WeightsError(f"{path.name} needs onnxruntime: pip install 'samcli[onnx]'") from error
    if path.suffix == ".torchscript" and not trusted:
        raise refusal(path, "TorchScript is a program, which can read and write files")
    check_undamaged(path)
    import_torchvision()  # ultralytics imports it for its NMS
    model = _load_whole(path) if trusted or is_exported(path) else _load_rebuilt(path)
    try:
        with keep_threads():  # an exported model is opened now
            names = {int(key): str(value) for key, value in dict(model.names).items()}
    except Exception as error:
        raise _unloadable(path, error) from error
    if model.task not in ("detect", "segment"):
        raise WeightsError(f"{path.name} is a model for the task '{model.task}'; expected a detector")
    if not names:
        raise WeightsError(f"{path.name} names no classes")
    return model, names


def _load_rebuilt(path: Path) -> Any:
    """Ultralytics' model around the network that a .pt file describes: see `rebuilding`."""
    from ultralytics import RTDETR, YOLO
    from ultralytics.nn.tasks import guess_model_task

    from samcli.checkpoints.rebuilding import rebuild_network

    network: Any
    network, training = rebuild_network(path)

    def hold(self: Any, weights: str, task: str | None = None) -> None:
        self.model, self.ckpt, self.ckpt_path, self.model_name = network, {}, str(path), path.name
        self.task = network.task = getattr(network, "task", None) or guess_model_task(network)
        network.args = {**training, "task": self.task}
        self.overrides = {**network.args, "model": path.name}

    base = RTDETR if "RTDETR" in type(network).__name__ else YOLO
    try:
        return type(base.__name__, (base,), {"_load": hold, "__module__": __name__})("network.pt")
    except Exception as error:
        raise _unloadable(path, error) from error


def _load_whole(path: Path) -> Any:
    """Ultralytics' own loading: an exported model, or a .pt file that is trusted, which may run any code."""
    from ultralytics import RTDETR, YOLO
    from ultralytics.utils.checks import check_yolov5u_filename

    taken = str(check_yolov5u_filename(str(path), verbose=False))
    if taken != str(path):  # the file that was verified must be the one that is loaded
        raise WeightsError(f"Ultralytics would load {taken} instead of {path}: rename the file")
    try:
        with keep_threads():
            if is_exported(path):
                return YOLO(path, task=_exported_task(path))
            model = YOLO(path)
            return RTDETR(path) if "RTDETR" in type(model.model).__name__ else model
    except Exception as error:  # whatever a stranger's file can raise
        raise _unloadable(path, error) from error


def _unloadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path} cannot be loaded as a detector: {one_line(error)[:300]}")


def _exported_task(path: Path) -> str:
    """Return the task that the exporter recorded; not every version of Ultralytics reads it."""
    from ultralytics.nn.autobackend import AutoBackend

    return getattr(AutoBackend(str(path)), "task", None) or "detect"


class UltralyticsDetector:
    """A detector behind Ultralytics' predictor."""

    def __init__(self, model: Any, names: dict[int, str], settings: dict[str, Any]) -> None:
        self.names = names
        self._model = model
        self._settings = settings

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """See Detector.

        Images of one size go through together; Ultralytics pads images of unequal sizes otherwise than
        single ones, and what is found must not depend on the neighbours in a batch.
        """
        found: dict[int, Detections] = {}
        for part in same_size_groups(images, 1 if self._settings["device"] == "cpu" else None):
            # Ultralytics takes arrays as OpenCV's BGR.
            arrays = [np.ascontiguousarray(images[index].pixels[..., ::-1]) for index in part]
            results = self._model.predict(arrays, verbose=False, save=False, **self._settings)
            for index, result in zip(part, results, strict=True):
                found[index] = _to_detections(result, images[index])
        return [found[index] for index in range(len(images))]


@functools.cache
def _mask_predictor() -> Any:
    """Ultralytics' predictor of masks, but for how they are made: see `prototypes`.

    Its own would hold every mask at the size of the image, and leave out objects without saying so.
    """
    from ultralytics.engine.results import Results
    from ultralytics.models.yolo.segment import SegmentationPredictor
    from ultralytics.utils.ops import scale_boxes

    from samcli.detectors.yolo_masks import cut_masks

    class MaskPredictor(SegmentationPredictor):  # type: ignore[misc]
        def construct_result(self, pred: Any, img: Any, orig_img: Any, img_path: str, proto: Any) -> Any:
            pred[:, :4] = scale_boxes(img.shape[2:], pred[:, :4], orig_img.shape)
            result = Results(orig_img, path=img_path, names=self.model.names, boxes=pred[:, :6])
            result.own_masks = tuple(cut_masks(proto, pred[:, 6:], pred[:, :4], orig_img.shape[:2]))
            return result

    return MaskPredictor


@functools.cache
def _own_predictor(base: Any, precision: str) -> Any:
    """Return a predictor of Ultralytics', its network in that precision.

    Its own knows no other than fp16 on GPUs.
    """
    from samcli.detectors.half_precision import halve_detector
    from samcli.sam.devices import DTYPES

    class OwnPredictor(base):  # type: ignore[misc]
        def setup_model(self, model: Any, verbose: bool = True) -> None:
            with keep_threads():
                super().setup_model(model, verbose)
            if precision != "fp32":
                halve_detector(self.model.model, DTYPES[precision])  # once its batch norms are folded, in fp32

    return OwnPredictor


def _to_detections(result: Any, image: Image) -> Detections:
    """Boxes inside the image, those without area left out; with their masks where the model made them."""
    table = result.boxes.data.float().cpu().numpy()
    height, width = image.image_size
    boxes = np.clip(table[:, :4], 0, (width, height, width, height))
    keep = np.isfinite(table).all(1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    masks = getattr(result, "own_masks", None)
    if masks is not None:
        masks = tuple(mask for mask, kept in zip(masks, keep, strict=True) if kept)
    return Detections(boxes[keep], table[keep, 5], table[keep, 4], masks)
