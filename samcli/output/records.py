"""Records: all that is known of one image's labels, lossless, as JSON. Every other format follows from them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple, TypeVar

from samcli.masks import Mask
from samcli.output.own_files import check_key, one_of, parse_object, typed
from samcli.types import (
    Annotation,
    Dropped,
    ExistingObjects,
    ImageMark,
    Instance,
    Origin,
    PromptPoint,
    Quality,
    Size,
    Verdict,
)

T = TypeVar("T")

_VERSION = 1
LARGEST = 1 << 30
"""Bytes that a record may have."""

_LONGEST_SIDE = 1 << 20
"""Pixels of an image; the largest that are decoded have some 30,000."""

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
        **({"existing": asdict(annotation.existing)} if annotation.existing else {}),
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
        "quality": _quality(instance.quality),
        **({"source": instance.source.value} if instance.source is not Origin.MACHINE else {}),
        **({"place": instance.place} if instance.place is not None else {}),
        **({"changed": instance.changed} if instance.changed else {}),
        **({"before": _instance_row(instance.before, names)} if instance.before else {}),
    }


def _quality(quality: Quality) -> dict[str, Any]:
    """Return the figures; `label_iou` only where labels leave something out."""
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
    """Return the annotation that a record holds.

    Raises:
        ValueError: it is no record, or of a later version, or its masks are not of the image's size.
    """
    record = parse_object(data)
    if record.get("version") != _VERSION:
        raise ValueError(f"not a record of version {_VERSION}")
    try:
        return _annotation(record)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"the record is damaged: {type(error).__name__} {error}") from error


def _annotation(record: dict[str, Any]) -> Annotation:
    size = typed(record, "height", int), typed(record, "width", int)
    if not (0 < size[0] <= _LONGEST_SIDE and 0 < size[1] <= _LONGEST_SIDE):
        raise ValueError("the image's size is not what it should be")
    return Annotation(
        key=check_key(record.get("key")),
        image_size=size,
        instances=tuple(_instance(item, size) for item in typed(record, "instances", list)),
        dropped=tuple(_dropped(item, size) for item in typed(record, "dropped", list)),
        omitted=typed(record, "omitted", int, 0),
        mark=one_of(ImageMark, record, "mark"),
        existing=_existing(record["existing"]) if "existing" in record else None,
    )


def _existing(item: dict[str, Any]) -> ExistingObjects:
    return ExistingObjects(typed(item, "count", int), typed(item, "name", str))


def _dropped(item: dict[str, Any], size: Size) -> Dropped:
    reason = typed(item, "reason", str)
    instance = _instance(item["instance"], size) if "instance" in item else None
    index = typed(item, "index", int) if item.get("index") is not None else None
    if reason == _EARLIER_REASON and instance is not None and index is not None:
        return rejection(instance, index, Verdict.BAD_MASK)
    return Dropped(
        reason=reason,
        class_id=typed(item, "class_id", int),
        prompt_box=_box(item),
        detector_score=_number(item["detector_score"]),
        prompt_points=_points(item),
        instance=instance,
        index=index,
        verdict=one_of(Verdict, item, "verdict"),
    )


def _instance(item: dict[str, Any], size: Size) -> Instance:
    if list(size) != item["mask"]["size"]:  # before its pixels are counted
        raise ValueError(f"a mask of {item['mask']['size']} pixels in an image of {list(size)} (height, width)")
    if not isinstance(item["mask"]["counts"], str):
        raise ValueError("the run lengths of a mask are no text")
    crop = item.get("crop_box")
    return Instance(
        mask=Mask.from_coco(item["mask"]),
        class_id=typed(item, "class_id", int),
        quality=Quality(**{name: _number(value) for name, value in typed(item, "quality", dict).items()}),
        prompt_box=_box(item),
        prompt_points=_points(item),
        crop_box=None if crop is None else _four([int(value) for value in crop]),
        source=one_of(Origin, item, "source") or Origin.MACHINE,
        place=typed(item, "place", int) if "place" in item else None,
        changed=typed(item, "changed", str) if "changed" in item else None,
        before=_instance(item["before"], size) if "before" in item else None,
    )


def _four(values: list[T]) -> tuple[T, T, T, T]:
    if len(values) != 4:
        raise ValueError(f"a box of {len(values)} numbers")
    return values[0], values[1], values[2], values[3]


def _box(item: dict[str, Any]) -> tuple[float, float, float, float] | None:
    return _four([_finite(value) for value in item["prompt_box"]]) if item["prompt_box"] else None


def _points(item: dict[str, Any]) -> tuple[PromptPoint, ...]:
    return tuple((_finite(x), _finite(y), int(label)) for x, y, label in item.get("prompt_points", ()))


def _number(value: Any) -> float | None:
    return None if value is None else _real(value)


def _finite(value: Any) -> float:
    if not math.isfinite(_real(value)):
        raise ValueError("a coordinate is not finite")
    return _real(value)


def _real(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError("a number is not what it should be")
    return value  # type: ignore[no-any-return]


def _rounded(value: Any) -> Any:
    """Numbers without noise, which would be a third of the file."""
    if isinstance(value, tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.{_DIGITS}g}") if value is not None else None


class Figures(NamedTuple):
    """Facts about an instance without its mask: its prompt box (xyxy), pixels, and polygon IoU."""

    box: tuple[float, ...] | None
    area: int
    polygon_iou: float | None


def read_figures(data: bytes) -> list[Figures]:
    """Return the figures of each instance: quicker than all of a record.

    Raises:
        ValueError: it is no record.
    """
    record = parse_object(data)
    try:
        return [
            Figures(_box(item), typed(item, "area", int), _number(item["quality"].get("polygon_iou")))
            for item in typed(record, "instances", list)
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the record is damaged: {type(error).__name__} {error}") from error
