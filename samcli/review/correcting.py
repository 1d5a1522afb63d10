"""SAM at a person's hand: masks for clicks and boxes, on top of the mask that is there."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.images import read_image
from samcli.jobs.segmenting import Encoder
from samcli.masks import Mask
from samcli.types import Embedding, ImageRef, PromptPoint, Prompts, Segment

if TYPE_CHECKING:
    from samcli.sam.engine import Engine

XYXY = tuple[float, float, float, float]

_HELD = 24
"""Embeddings that are held: some 4 MB each of the published SAM."""

_CERTAIN = 6.0
"""Logit of a pixel that a mask covers."""


@dataclass(frozen=True)
class Asked:
    """A person's clicks and box on one object; `logits`: (h, w) of the answer that they are on top of."""

    points: tuple[PromptPoint, ...] = ()
    box: XYXY | None = None
    logits: NDArray[np.float32] | None = None


class Corrector:
    """Embeddings and answers. Networks are loaded when they are first needed, and used by one thread at a time."""

    def __init__(self, load: Callable[[], tuple[Engine, Encoder]]) -> None:
        self._load = load
        self._networks: tuple[Engine, Encoder] | None = None
        self._held: OrderedDict[str, Embedding] = OrderedDict()
        self._wanted: list[ImageRef] = []
        self._lock = threading.Lock()
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None

    def prepare(self, refs: Sequence[ImageRef]) -> None:
        """Encode these images in the background, in order; what was asked for earlier is forgotten."""
        with self._news:
            self._wanted = list(refs)[: _HELD // 2]
            self._news.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            with self._news:
                while not self._wanted:
                    self._news.wait()
                ref = self._wanted.pop(0)
            try:
                self.embedding(ref)
            except Exception:  # whoever clicks there is told
                with self._news:
                    self._wanted.clear()

    def embedding(self, ref: ImageRef) -> Embedding:
        """Return the embedding of an image.

        Raises:
            SamcliError: the network cannot be loaded, or the image cannot be read.
        """
        with self._lock:
            if ref.key in self._held:
                self._held.move_to_end(ref.key)
                return self._held[ref.key]
            if self._networks is None:
                self._networks = self._load()
            (found,) = self._networks[1].encode([read_image(ref)])
            self._held[ref.key] = found
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
            return found

    def segments(self, ref: ImageRef, asked: Asked, present: Mask | None) -> list[Segment]:
        """Return the answers to what is asked, the highest predicted IoU first, each mask once.

        `present`: the object's mask, on top of which the first click is. Answers that do without it come after
        those that do not, where these are as good.

        Raises:
            SamcliError: the network cannot be loaded, or the image cannot be read.
        """
        embedding = self.embedding(ref)
        with self._lock:
            engine = self._networks[0] if self._networks else self._load()[0]
            fresh = engine.segment(embedding, _prompts(asked, None), multimask=True, return_logits=True)
            logits = asked.logits
            if logits is None and present is not None and present.area and fresh[0].low_res_logits is not None:
                logits = low_res_logits(present, embedding, fresh[0].low_res_logits.shape)
            above = []
            if logits is not None:
                above = engine.segment(embedding, _prompts(asked, logits), multimask=True, return_logits=True)
        every = sorted([*above, *fresh], key=lambda one: -one.predicted_iou)
        once = {one.mask.counts: one for one in reversed(every) if one.mask.area}
        return sorted(once.values(), key=lambda one: -one.predicted_iou)


def _prompts(asked: Asked, logits: NDArray[np.float32] | None) -> Prompts:
    points = np.array([[(x, y) for x, y, _ in asked.points]], np.float32) if asked.points else None
    labels = np.array([[label for _, _, label in asked.points]], np.int64) if asked.points else None
    boxes = np.array([asked.box], np.float32) if asked.box else None
    return Prompts(boxes, points, labels, None if logits is None else logits[None])


def low_res_logits(mask: Mask, embedding: Embedding, shape: Sequence[int]) -> NDArray[np.float32]:
    """Return logits (h, w) of `shape` for a mask: certain where it is, uncertain at its border.

    The image takes the upper left part of the network's square, as `embedding` says.
    """
    scale = shape[0] / max(embedding.input_size)
    height, width = (max(1, round(side * scale)) for side in embedding.input_size)
    small = cv2.resize(mask.pixels().astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    logits = np.full(tuple(shape), -_CERTAIN, np.float32)
    logits[:height, :width] = (2 * small - 1)[: shape[0], : shape[1]] * _CERTAIN
    return logits
