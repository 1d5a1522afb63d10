"""Records: all that is known of one image's labels, lossless, as JSON. Every other format follows from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from samcli.masks import Mask
from samcli.types import Annotation, Dropped, Instance, PromptPoint, Quality

_VERSION = 1
_DIGITS = 9
"""Significant ones: enough to tell any two float32 apart."""


def write_record(annotation: Annotation, names: Mapping[int, str]) -> bytes:
    """One line of JSON; equal annotations give equal bytes.

    Boxes are xyxy in pixels of the original, upright image; masks are COCO's compressed RLE.
    """
    height, width = annotation.image_size
    record = {
        "version": _VERSION,
        "key": annotation.key,
        "height": height,
        "width": width,
        "instances": [_instance_row(instance, names) for instance in annotation.instances],
        "dropped": [
            {
                "reason": dropped.reason,
                "class_id": dropped.class_id,
                "class_name": names.get(dropped.class_id),
                "prompt_box": _rounded(dropped.prompt_box),
                "detector_score": _rounded(dropped.detector_score),
                **_origin(dropped),
                **({"index": dropped.index} if dropped.index is not None else {}),
                **({"instance": _instance_row(dropped.instance, names)} if dropped.instance else {}),
            }
            for dropped in annotation.dropped
        ],
    }
    return json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def _instance_row(instance: Instance, names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "class_id": instance.class_id,
        "class_name": names.get(instance.class_id),
        "prompt_box": _rounded(instance.prompt_box),
        **_origin(instance),
        "area": instance.mask.area,
        "mask": instance.mask.to_coco(),
        "quality": _quality(instance.quality),
    }


def _quality(quality: Quality) -> dict[str, Any]:
    """The figures; `label_iou` only where labels leave something out."""
    figures = {name: _rounded(value) for name, value in asdict(quality).items()}
    if figures["label_iou"] is None:
        del figures["label_iou"]
    return figures


def _origin(found: Instance | Dropped) -> dict[str, Any]:
    """Prompt points and crop box, where there are any; points as they are, to the last bit."""
    crop_box = getattr(found, "crop_box", None)
    return {
        **({"prompt_points": found.prompt_points} if found.prompt_points else {}),
        **({"crop_box": crop_box} if crop_box else {}),
    }


def read_record(data: bytes) -> Annotation:
    """The annotation that a record holds.

    Raises:
        ValueError: it is no record, or of a later version.
    """
    record = json.loads(data)
    if not isinstance(record, dict) or record.get("version") != _VERSION:
        raise ValueError(f"not a record of version {_VERSION}")
    try:
        return _annotation(record)
    except (KeyError, TypeError) as error:
        raise ValueError(f"the record is damaged: {type(error).__name__} {error}") from error


def _annotation(record: Mapping[str, Any]) -> Annotation:
    return Annotation(
        key=record["key"],
        image_size=(record["height"], record["width"]),
        instances=tuple(_instance(item) for item in record["instances"]),
        dropped=tuple(
            Dropped(
                reason=item["reason"],
                class_id=item["class_id"],
                prompt_box=_box(item),
                detector_score=item["detector_score"],
                prompt_points=_points(item),
                instance=_instance(item["instance"]) if "instance" in item else None,
                index=item.get("index"),
            )
            for item in record["dropped"]
        ),
    )


def _instance(item: Mapping[str, Any]) -> Instance:
    return Instance(
        mask=Mask.from_coco(item["mask"]),
        class_id=item["class_id"],
        quality=Quality(**item["quality"]),
        prompt_box=_box(item),
        prompt_points=_points(item),
        crop_box=tuple(item["crop_box"]) if "crop_box" in item else None,
    )


def _box(item: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    return tuple(item["prompt_box"]) if item["prompt_box"] else None


def _points(item: Mapping[str, Any]) -> tuple[PromptPoint, ...]:
    return tuple((float(x), float(y), int(label)) for x, y, label in item.get("prompt_points", ()))


def _rounded(value: Any) -> Any:
    """Numbers without noise, which would be a third of the file."""
    if isinstance(value, tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.{_DIGITS}g}") if value is not None else None


def read_areas(data: bytes) -> list[tuple[tuple[float, ...] | None, int]]:
    """The prompt box (xyxy; None: no box) and the mask's pixels of each instance: quicker than all of a record.

    Raises:
        ValueError: it is no record.
    """
    try:
        return [
            (tuple(item["prompt_box"]) if item["prompt_box"] else None, int(item["area"]))
            for item in json.loads(data)["instances"]
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"the record is damaged: {type(error).__name__} {error}") from error
