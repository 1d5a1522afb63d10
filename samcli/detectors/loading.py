"""From `--det` to a detector: which adapter a file or a folder is for."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from samcli.checkpoints.model_folder import ModelFolder, read_model_folder
from samcli.checkpoints.pickles import inspect_pickle
from samcli.checkpoints.registry import WeightsFile, find_weights
from samcli.config import DetectorOptions
from samcli.detectors.base import Detector, DetectorSettings
from samcli.errors import UsageError, WeightsError

log = logging.getLogger("samcli")

TEXT_DETECTOR = "IDEA-Research/grounding-dino-tiny"
"""What reads `--text` where no detector is given. Anyone may download and use it (Apache-2.0)."""

_READS_NO_TEXT = (
    "--text needs a detector that reads text; {} knows only the classes that it was trained on. "
    f"Give e.g. --det {TEXT_DETECTOR}, or leave out --text"
)

_NEEDS_CLIP = (
    "{} reads text with a fork of CLIP that Ultralytics has on GitHub alone, and that samcli does not install. "
    "Save it with its vocabulary, model.set_classes([...]); model.save(FILE), and give that as --det without --text"
)

_WORLD_MODELS = ("WorldModel", "YOLOEModel", "YOLOESegModel")

_TABLES = (".pth", ".safetensors")
"""Suffixes of files that hold tensors and nothing else."""

_SEGMENTERS = (
    "Mask2FormerForUniversalSegmentation",
    "MaskFormerForInstanceSegmentation",
    "RfDetrForInstanceSegmentation",
)

_ZERO_SHOT = "AutoModelForZeroShotObjectDetection"

Adapter = Callable[[ModelFolder, DetectorSettings], Detector]


def load_detector(weights: WeightsFile | str, settings: DetectorSettings | None = None, **changes: Any) -> Detector:
    """Return a detector from a known name, a file, or a folder that the transformers library saved a model in.

    `changes`: fields of DetectorSettings, e.g. `conf=0.4`.

    Raises:
        WeightsError: the file is refused, damaged, no detector, or has no masks though they are asked for.
        UsageError: a class is unknown to the detector, words are given to one that reads none, or the device is
            not here.
    """
    settings = replace(settings or DetectorSettings(), **changes)
    if isinstance(weights, str):
        weights = find_weights(weights, "det", log.info)
    if weights.path.is_dir():
        _say_precision(weights.path, settings)
        return _from_folder(read_model_folder(weights.path), settings)
    return _from_file(weights, settings)


def detector_name(det: str, text: str | None) -> str:
    """Return the detector meant by `--det` and `--text`: the default one reads no text."""
    return TEXT_DETECTOR if text is not None and det == DetectorOptions.det else det


def _from_file(weights: WeightsFile, settings: DetectorSettings) -> Detector:
    from samcli.detectors import ultralytics

    if settings.vocabulary is not None:
        text = _NEEDS_CLIP if _is_world_model(weights.path) else _READS_NO_TEXT
        raise UsageError(text.format(weights.path.name))
    if weights.path.suffix in _TABLES:
        _say_precision(weights.path, settings)
        return _from_tensors(weights.path, settings)
    own = {entry.name for entry in fields(settings)} - {"vocabulary", "text_threshold"}
    return ultralytics.load_detector(weights, **{name: getattr(settings, name) for name in own})


def _say_precision(path: Path, settings: DetectorSettings) -> None:
    """Say that a detector of the transformers library or of torchvision takes no other precision than fp32."""
    if settings.precision not in ("auto", "fp32"):
        log.info("%s computes in fp32; --precision %s applies to SAM only", path.name, settings.precision)


def _is_world_model(path: Path) -> bool:
    """Return whether a file holds YOLO-World or YOLOE, which read text where a text encoder is installed."""
    try:
        return path.suffix == ".pt" and inspect_pickle(path).network.endswith(_WORLD_MODELS)
    except WeightsError:
        return False


def _from_tensors(path: Path, settings: DetectorSettings) -> Detector:
    from samcli.detectors.torchvision import is_torchvision, load_torchvision
    from samcli.sam.networks import read_checkpoint

    tensors = read_checkpoint(path).tensors
    if not is_torchvision(tensors):
        raise WeightsError(
            f"{path} holds no detector that samcli knows; expected one of torchvision's, a file of Ultralytics, or "
            "the folder that transformers saved a detector in"
        )
    return load_torchvision(tensors, path, settings)


def _from_folder(folder: ModelFolder, settings: DetectorSettings) -> Detector:
    if folder.model_type in _OPEN:
        return _reader_of_text(folder, settings)
    if settings.vocabulary is not None:
        raise UsageError(_READS_NO_TEXT.format(folder.path.name))
    if folder.architecture.endswith(_SEGMENTERS):
        return _segmenter(folder, settings)
    if not folder.architecture.endswith("ForObjectDetection"):
        raise WeightsError(
            f"{folder.path} holds a {folder.architecture or folder.model_type or 'model of no known kind'} "
            f"(config.json), no detector that samcli knows. Known: {', '.join(sorted(_OPEN))}, object detectors "
            "(...ForObjectDetection), instance segmenters (Mask2Former, MaskFormer, RF-DETR)"
        )
    _refuse_masks(folder, settings)
    return _closed(folder, settings)


def _reader_of_text(folder: ModelFolder, settings: DetectorSettings) -> Detector:
    if settings.vocabulary is None:
        raise UsageError(f"{folder.path.name} finds what words name: give --text, e.g. --text 'person, red car'")
    if folder.model_type not in _CONCEPTS:
        _refuse_masks(folder, settings)
    return _OPEN[folder.model_type](folder, settings)


def _refuse_masks(folder: ModelFolder, settings: DetectorSettings) -> None:
    if settings.masks:
        raise WeightsError(
            f"{folder.path.name} finds boxes without masks: give --sam a checkpoint, or --det a segmentation model"
        )


def _closed(folder: ModelFolder, settings: DetectorSettings) -> Detector:
    from samcli.detectors.closed_vocabulary import ClosedDetector
    from samcli.detectors.transformers_models import Pretrained

    return ClosedDetector(Pretrained.load(folder, "AutoModelForObjectDetection", settings.device), settings)


def _segmenter(folder: ModelFolder, settings: DetectorSettings) -> Detector:
    from samcli.detectors.instance_segmentation import InstanceSegmenter
    from samcli.detectors.transformers_models import Pretrained

    return InstanceSegmenter(Pretrained.load(folder, folder.architecture, settings.device), settings)


def _open(adapter: str, class_name: str = _ZERO_SHOT, processor: str = "AutoProcessor") -> Adapter:
    """`adapter`: module and class of a detector that reads text; `class_name`, `processor`: in the library."""

    def load(folder: ModelFolder, settings: DetectorSettings) -> Detector:
        from samcli.detectors.transformers_models import Pretrained

        module, _, name = adapter.partition(":")
        kind = getattr(importlib.import_module(f"samcli.detectors.{module}"), name)
        model = Pretrained.load(folder, class_name, settings.device, processor)
        detector: Detector = kind(model, settings, settings.vocabulary)
        return detector

    return load


_OPEN: dict[str, Adapter] = {
    "grounding-dino": _open("grounding:GroundingDetector"),
    "mm-grounding-dino": _open("grounding:GroundingDetector"),
    "omdet-turbo": _open("omdet:OmDetDetector"),
    "owlv2": _open("owl:OwlDetector"),
    "owlvit": _open("owl:OwlDetector"),
    "sam3": _open("concepts:ConceptDetector", "Sam3Model", "Sam3Processor"),
    "sam3_lite_text": _open("concepts:ConceptDetector", "Sam3LiteTextModel", "Sam3Processor"),
    "sam3_video": _open("concepts:ConceptDetector", "Sam3Model", "Sam3Processor"),
}
"""By the library's name of the family: adapters of detectors that find what words name."""

_CONCEPTS = ("sam3", "sam3_lite_text", "sam3_video")
"""Families that make masks too. Meta publishes SAM 3 as its model for videos, which contains that for images."""
