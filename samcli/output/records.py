"""Records: all that is known of one image's labels, lossless, as JSON. Every other format follows from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from samcli.masks import Mask
from samcli.types import Annotation, Dropped, ImageMark, Instance, PromptPoint, Quality, Verdict

_VERSION = 1
_DIGITS = 9
"""Significant ones: enough to tell any two float32 apart."""

_REASONS = {
    Verdict.NO_OBJECT: "rejected in review: no object",
    Verdict.BAD_MASK: "rejected in review: bad mask",
}
_EARLIER_REASON = "rejected in review"
"""In records of versions that knew one verdict: it counts as a bad mask."""


def rejection(instance: Instance, index: int, verdict: Verdict) -> Dropped:
    """Return an instance as a person's verdict drops it; `index`: its number as the run labelled the image."""
    return Dropped(
        reason=_REASONS[verdict],
        class_id=instance.class_id,
        prompt_box=instance.prompt_box,
        detector_score=instance.quality.detector_score,
        prompt_points=instance.prompt_points,
        instance=instance,
        index=index,
        verdict=verdict,
    )


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
        "dropped": [_dropped_row(dropped, names) for dropped in annotation.dropped],
        **({"omitted": annotation.omitted} if annotation.omitted else {}),
        **({"mark": annotation.mark.value} if annotation.mark else {}),
    }
    return json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def _dropped_row(dropped: Dropped, names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "reason": dropped.reason,
        "class_id": dropped.class_id,
        "class_name": names.get(dropped.class_id),
        "prompt_box": _rounded(dropped.prompt_box),
        "detector_score": _rounded(dropped.detector_score),
        **_origin(dropped),
        **({"verdict": dropped.verdict.value} if dropped.verdict else {}),
        **({"index": dropped.index} if dropped.index is not None else {}),
        **({"instance": _instance_row(dropped.instance, names)} if dropped.instance else {}),
    }


def _instance_row(instance: Instance, names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "class_id": instance.class_id,
        "class_name": names.get(instance.class_id),
        "prompt_box": _rounded(instance.prompt_box),
        **_origin(instance),
        "area": instance.mask.area,
        "mask": instance.mask.to_coco(),
        "quality": {name: _rounded(value) for name, value in asdict(instance.quality).items()},
    }


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
        dropped=tuple(_dropped(item) for item in record["dropped"]),
        omitted=record.get("omitted", 0),
        mark=ImageMark(record["mark"]) if "mark" in record else None,
    )


def _dropped(item: Mapping[str, Any]) -> Dropped:
    verdict = Verdict(item["verdict"]) if "verdict" in item else None
    instance, index = (_instance(item["instance"]) if "instance" in item else None), item.get("index")
    if instance is not None and index is not None and item["reason"] == _EARLIER_REASON:
        return rejection(instance, index, Verdict.BAD_MASK)
    return Dropped(
        reason=item["reason"],
        class_id=item["class_id"],
        prompt_box=_box(item),
        detector_score=item["detector_score"],
        prompt_points=_points(item),
        instance=instance,
        index=index,
        verdict=verdict,
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
