"""Provide what detectors from folders of the transformers library share.

Networks and processors are the library's own and compute in fp32, as it does by default: the corners of boxes need
more than the eight bits of bfloat16.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samcli.checkpoints.model_folder import ModelFolder
from samcli.checkpoints.transformers_loading import load_pretrained, load_processor, remember
from samcli.detectors.base import DetectorSettings, Selection, same_size_groups
from samcli.errors import ImageError
from samcli.masks import Mask
from samcli.sam.devices import choose_device, compute_exactly
from samcli.types import Detections, Image


@dataclass(frozen=True)
class Pretrained:
    """A network on its device with its processor."""

    network: Any
    processor: Any
    device: torch.device

    @classmethod
    def load(
        cls, folder: ModelFolder, class_name: str, device: str, processor: str = "AutoProcessor"
    ) -> Pretrained:
        """Return the folder's model and its processor, as those classes of the library.

        Raises:
            WeightsError: it is of another kind, damaged, or something is not installed.
            UsageError: no such device.
        """
        place = choose_device(device)
        compute_exactly()
        return cls(load_pretrained(folder, class_name, place), load_processor(folder, processor), place)

    @property
    def image_processor(self) -> Any:
        """Return the processor that turns images into network input and outputs into boxes and masks."""
        return getattr(self.processor, "image_processor", self.processor)

    def remember(self, module: Any, capacity: int = 1) -> None:
        """See `samcli.checkpoints.transformers_loading.remember`."""
        remember(module, capacity)


@dataclass(frozen=True)
class Answer:
    """A model's answer for one image: boxes (N, 4) xyxy in its pixels, class ids and scores (N,), maybe masks."""

    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    masks: tuple[Mask, ...] | None = None
    prompts: NDArray[np.int64] | None = None
    """(N,): which prompt found each, from a model that finds each object once for each prompt."""

    @classmethod
    def of(cls, found: Mapping[str, Any], class_ids: NDArray[np.int64]) -> Answer:
        """Make an answer from the library's post-processed output; `ids` maps its labels to class ids."""
        labels = found["labels"].cpu().numpy()
        return cls(found["boxes"].cpu().numpy(), class_ids[labels], found["scores"].cpu().numpy())

    @classmethod
    def joined(cls, parts: Sequence[Answer]) -> Answer:
        """Several answers about one image as one."""
        masks = None if parts[0].masks is None else tuple(mask for part in parts for mask in part.masks or ())
        prompts = [part.prompts for part in parts if part.prompts is not None]
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.class_ids for part in parts]),
            np.concatenate([part.scores for part in parts]),
            masks,
            np.concatenate(prompts) if prompts else None,
        )


class PretrainedDetector(ABC):
    """A detector of the transformers library behind the protocol `Detector`."""

    def __init__(
        self, model: Pretrained, settings: DetectorSettings, names: dict[int, str], *, nms_iou: float | None = None
    ) -> None:
        """`nms_iou`: None for a model that finds each object once by itself.

        Raises:
            UsageError: the settings ask for a class that is not among `names`.
        """
        self.model = model
        self.settings = settings
        self.names = names
        self._selection = Selection(settings.max_det, settings.class_ids(names), nms_iou)

    @torch.inference_mode()
    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """See Detector. On a CPU the images go through one by one."""
        found: dict[int, Detections] = {}
        for part in same_size_groups(images, 1 if self.model.device.type == "cpu" else None):
            answers = self.find([images[index] for index in part])
            for index, answer in zip(part, answers, strict=True):
                found[index] = self._select(answer, images[index])
        return [found[index] for index in range(len(images))]

    @abstractmethod
    def find(self, images: Sequence[Image]) -> list[Answer]:
        """Return the answers for several images of one size, above the confidence threshold."""

    def pixels(self, images: Sequence[Image]) -> dict[str, Any]:
        """Images as the network takes them, by the library's own image processor."""
        from PIL.Image import fromarray

        made = self.model.image_processor([fromarray(image.pixels) for image in images], return_tensors="pt")
        return {name: values.to(self.model.device) for name, values in made.items()}

    def _select(self, answer: Answer, image: Image) -> Detections:
        if not np.isfinite(answer.scores).all():
            raise ImageError("the detector's scores are not finite")
        return self._selection.detections(
            answer.boxes,
            answer.class_ids,
            answer.scores,
            image.image_size,
            masks=answer.masks,
            prompts=answer.prompts,
        )
