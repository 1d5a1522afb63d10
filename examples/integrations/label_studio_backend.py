"""samcli as an ML backend of Label Studio: brush regions for whole images, and for a click or a box.

pip install samcli git+https://github.com/HumanSignal/label-studio-ml-backend.git   # 2.x, which PyPI does not have
DET=yolov8x.pt SAM=sam_b.pt LABEL_STUDIO_URL=... LABEL_STUDIO_API_KEY=... python label_studio_backend.py --port 9090

The labeling config has <BrushLabels> for an <Image>. <KeyPointLabels smart="true"> and <RectangleLabels
smart="true"> beside them give SAM's answer to a click or a box.
"""

from __future__ import annotations

import argparse
import functools
import os
from typing import Any

import numpy as np
from label_studio_ml.model import LabelStudioMLBase
from label_studio_ml.response import ModelResponse

import samcli
from samcli.labels.formats.base import Rendering
from samcli.labels.formats.labelstudio import brush_regions
from samcli.types import Annotation, Instance, Quality


@functools.cache
def detector() -> Any:
    """Return the detector, loaded once for all requests."""
    return samcli.load_detector(os.environ.get("DET", "yolov8x.pt"))


@functools.cache
def sam() -> Any:
    """Return SAM, loaded once for all requests."""
    return samcli.load_sam(os.environ.get("SAM", "sam_b.pt"))


class Backend(LabelStudioMLBase):
    """Answers requests of Label Studio."""

    def setup(self) -> None:
        """Name the version that predictions bear."""
        self.set("model_version", f"samcli {samcli.__version__}")

    def predict(self, tasks: list[dict], context: dict | None = None, **kwargs: Any) -> ModelResponse:
        """Return a prediction for each task; for what the person has clicked in `context`, if there is any."""
        from_name, to_name, value = self.get_first_tag_occurence("BrushLabels", "Image")
        predictions = []
        for task in tasks:
            image = samcli.read_image(self.get_local_path(task["data"][value], task_id=task.get("id")))
            annotation, names = _asked(image, context["result"]) if context else _found(image)
            regions = brush_regions(Rendering(annotation, names))
            result = [{**region, "from_name": from_name, "to_name": to_name} for region in regions]
            scores = [region["score"] for region in result if "score" in region]
            predictions.append({"result": result, "score": float(np.mean(scores)) if scores else 0.0})
        return ModelResponse(predictions=predictions, model_version=str(self.model_version))


def _found(image: samcli.Image) -> tuple[Annotation, dict[int, str]]:
    """Return the objects that the detector finds."""
    found = detector().detect(image)
    if not len(found):
        return Annotation("image", image.image_size), {}
    segments = sam().segment(sam().encode([image])[0], boxes=found.boxes)
    scores, class_ids = found.scores.tolist(), found.class_ids.tolist()
    instances = [Instance(one.mask, class_ids[one.prompt], Quality(scores[one.prompt])) for one in segments]
    return Annotation("image", image.image_size, tuple(instances)), dict(detector().names)


def _asked(image: samcli.Image, results: list[dict]) -> tuple[Annotation, dict[int, str]]:
    """Return SAM's best answer to the clicks and the box of a person, all on one object."""
    scale = np.array([image.image_size[1], image.image_size[0]]) / 100  # Label Studio states per cent
    points, labels, boxes, name = [], [], None, "object"
    for result in results:
        value = result["value"]
        corner = np.array([value["x"], value["y"]]) * scale
        name = next(iter(value.get(result["type"]) or [name]))
        if result["type"].startswith("rectangle"):
            boxes = [*corner, *(corner + np.array([value["width"], value["height"]]) * scale)]
        else:
            points, labels = [*points, corner], [*labels, int(result.get("is_positive", 1))]
    clicks = {"points": [points], "point_labels": [labels]} if points else {}
    answers = sam().segment(sam().encode([image])[0], boxes=boxes, multimask=True, **clicks)
    best = max(answers, key=lambda one: one.predicted_iou)
    instance = Instance(best.mask, 0, Quality(predicted_iou=best.predicted_iou))
    return Annotation("image", image.image_size, (instance,)), {0: name}


if __name__ == "__main__":
    from label_studio_ml.api import init_app

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9090)
    init_app(model_class=Backend).run(host="127.0.0.1", port=parser.parse_args().port)
