"""From `--det` to a detector: which adapter a file or a folder is for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from samcli.checkpoints.model_folder import ModelFolder, read_model_folder
from samcli.checkpoints.registry import WeightsFile, find_weights
from samcli.config import DetectorOptions
from samcli.detectors.base import Detector, DetectorSettings
from samcli.errors import UsageError, WeightsError

log = logging.getLogger("samcli")

TEXT_DETECTOR = "IDEA-Research/grounding-dino-tiny"
"""What reads `--text` where no detector is given. Anyone may download and use it (Apache-2.0)."""

Adapter = Callable[[ModelFolder, DetectorSettings], Detector]


def load_detector(weights: WeightsFile | str, settings: DetectorSettings | None = None, **changes: Any) -> Detector:
    """A detector from a known name, a file, or a folder that the transformers library saved a model in.

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
        return _from_folder(read_model_folder(weights.path), settings)
    return _from_file(weights, settings)


def detector_name(det: str, text: str | None) -> str:
    """The detector meant by `--det` and `--text`: the default one reads no text."""
    return TEXT_DETECTOR if text is not None and det == DetectorOptions.det else det


def _from_file(weights: WeightsFile, settings: DetectorSettings) -> Detector:
    from samcli.detectors import ultralytics

    if settings.vocabulary is not None:
        raise UsageError(
            f"--text needs a detector that reads text; {weights.path.name} knows only the classes that it was "
            "trained on. Give e.g. --det IDEA-Research/grounding-dino-tiny, or leave out --text"
        )
    own = {entry.name for entry in fields(settings)} - {"vocabulary", "text_threshold"}
    return ultralytics.load_detector(weights, **{name: getattr(settings, name) for name in own})


def _from_folder(folder: ModelFolder, settings: DetectorSettings) -> Detector:
    if folder.model_type not in _OPEN:
        raise WeightsError(
            f"{folder.path} is a model of type '{folder.model_type}' (config.json), no detector that samcli knows; "
            f"expected {', '.join(sorted(_OPEN))}"
        )
    if settings.vocabulary is None:
        raise UsageError(f"{folder.path.name} finds what words name: give --text, e.g. --text 'person, red car'")
    if settings.masks:
        raise UsageError(f"{folder.path.name} finds boxes without masks: --sam none needs a model that has them")
    return _OPEN[folder.model_type](folder, settings)


def _grounding(folder: ModelFolder, settings: DetectorSettings) -> Detector:
    from samcli.detectors.grounding import GroundingDetector
    from samcli.detectors.pretrained import Pretrained

    model = Pretrained.load(folder, "AutoModelForZeroShotObjectDetection", settings.device)
    assert settings.vocabulary is not None
    return GroundingDetector(model, settings, settings.vocabulary)


_OPEN: dict[str, Adapter] = {
    "grounding-dino": _grounding,
    "mm-grounding-dino": _grounding,
}
"""By the library's name of the family: adapters of detectors that find what words name."""
