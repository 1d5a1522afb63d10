"""samcli itself as it is measured: an engine, FastSAM, or a detector, behind the methods of a `Contender`."""

from __future__ import annotations

from pathlib import Path

from samcli.bench.base import Contender, pickled_network
from samcli.bench.pictures import draw_boxes
from samcli.bench.setup import Setup, UnsupportedError
from samcli.checkpoints.pickles import PickledNetwork
from samcli.checkpoints.registry import WeightsFile, find_weights
from samcli.config import FastSamOptions, MaskGeneratorOptions
from samcli.detectors.base import Detector
from samcli.detectors.fastsam import FastSam, choose, load_fastsam
from samcli.detectors.ultralytics import load_detector
from samcli.prompts import ObjectPrompt
from samcli.sam.devices import choose_device, choose_precision
from samcli.sam.engine import Engine
from samcli.sam.mask_generator import everything
from samcli.sam.networks import load_network
from samcli.types import Detections, Embedding, Image, Prompts


def load_contender(setup: Setup) -> Contender:
    """Load the model of the setup into samcli.

    Raises:
        UnsupportedError: samcli cannot run this model as a network of its own.
        WeightsError: the file is refused or damaged.
    """
    path = Path(setup.weights)
    weights = find_weights("tiny", "sam") if setup.weights == "tiny" else WeightsFile(path, "")
    if weights.path.suffix in (".onnx", ".torchscript"):
        raise UnsupportedError(f"{setup.model}: exported models are not measured")
    if network := pickled_network(weights.path):
        return _load_pickled(setup, weights, network)
    engine = Engine(load_network(weights.path), setup.model, device=setup.device, precision=setup.precision)
    return OwnSam(engine, setup)


def _load_pickled(setup: Setup, weights: WeightsFile, network: PickledNetwork) -> Contender:
    """FastSAM, a YOLO with masks of many classes, or a detector."""
    precision = choose_precision(setup.precision, choose_device(setup.device))
    masks = network.network.endswith(".SegmentationModel")
    if masks and len(network.names) == 1:
        return OwnFastSam(
            load_fastsam(weights, FastSamOptions(), device=setup.device, precision=precision), setup.boxes
        )
    return OwnDetector(load_detector(weights, device=setup.device, precision=precision, imgsz=None, masks=masks))


class OwnSam:
    """SAM of any family."""

    tasks = ("encode", "box", "everything")

    def __init__(self, engine: Engine, setup: Setup) -> None:
        self._engine = engine
        self._boxes = setup.boxes
        self._options = MaskGeneratorOptions(points_per_side=setup.points_per_side)
        self._encoded: tuple[Image, Embedding] | None = None

    def warm_up(self, image: Image) -> None:
        """See Contender."""
        self.run("encode", image)
        self.run("box", image)
        everything(self._engine, image, MaskGeneratorOptions(points_per_side=1))

    def prepare(self, task: str, image: Image) -> None:
        """See Contender."""
        if task == "box" and (self._encoded is None or self._encoded[0] is not image):
            self._encode(image)

    def _encode(self, image: Image) -> Embedding:
        (embedding,) = self._engine.encode([image])
        self._encoded = (image, embedding)
        return embedding

    def run(self, task: str, image: Image) -> int:
        """See Contender."""
        if task == "encode":
            self._encode(image)
            return 0
        if task == "box":
            embedding = self._encoded[1] if self._encoded else self._encode(image)
            boxes = draw_boxes(self._boxes, image.image_size)
            return len(self._engine.segment(embedding, Prompts(boxes=boxes)))
        return len(everything(self._engine, image, self._options))


class OwnFastSam:
    """FastSAM, which finds everything first, also for a box."""

    tasks = ("box", "everything")

    def __init__(self, fastsam: FastSam, boxes: int) -> None:
        self._fastsam = fastsam
        self._boxes = boxes

    def warm_up(self, image: Image) -> None:
        """See Contender."""
        self.run("box", image)

    def prepare(self, task: str, image: Image) -> None:
        """Nothing: there are no embeddings."""

    def run(self, task: str, image: Image) -> int:
        """See Contender."""
        (found,) = self._fastsam.find([image])
        if task == "everything":
            return len(found)
        boxes = draw_boxes(self._boxes, image.image_size).tolist()
        objects = [ObjectPrompt(box=(x1, y1, x2, y2)) for x1, y1, x2, y2 in boxes]
        return sum(map(len, choose(found.masks or (), objects)))


class OwnDetector:
    """A detector, with masks where it makes them; what it finds is its everything."""

    tasks = ("everything",)

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def warm_up(self, image: Image) -> None:
        """See Contender."""
        self.run("everything", image)

    def prepare(self, task: str, image: Image) -> None:
        """Nothing."""

    def run(self, task: str, image: Image) -> int:
        """See Contender."""
        found: list[Detections] = self._detector.detect([image])
        return len(found[0])
