"""Records: lossless, and the same bytes for the same annotation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from samcli.masks import Mask
from samcli.output.records import read_record, rejection, write_record
from samcli.types import Annotation, Dropped, ImageMark, Instance, Quality, Verdict

NAMES = {0: "person", 5: "bus"}


def ring() -> Mask:
    pixels = np.zeros((20, 30), bool)
    pixels[2:15, 3:18] = True
    pixels[6:9, 8:12] = False
    return Mask.from_pixels(pixels)


def annotation() -> Annotation:
    return Annotation(
        key="a/zażółć\udce9.jpg",
        image_size=(20, 30),
        instances=(
            Instance(ring(), 5, Quality(0.9, 0.95, 0.99, 0.85, 0.981), (1.5, 2.25, 19.0, 16.125)),
            Instance(Mask.from_pixels(np.ones((20, 30), bool)), 0),
        ),
        dropped=(Dropped("empty mask", 7, (0.0, 1.0, 2.0, 3.0), 0.5),),
    )


def test_record__gives_back_the_annotation() -> None:
    assert read_record(write_record(annotation(), NAMES)) == annotation()


def test_record__of_nothing_gives_back_nothing() -> None:
    empty = Annotation("1.jpg", (20, 30))
    assert read_record(write_record(empty, NAMES)) == empty


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
@settings(max_examples=50)
def test_record__loses_no_pixel(pixels: NDArray[np.bool_]) -> None:
    given_ = Annotation("1.jpg", pixels.shape, (Instance(Mask.from_pixels(pixels), 0),))
    (instance,) = read_record(write_record(given_, NAMES)).instances
    np.testing.assert_array_equal(instance.mask.pixels(), pixels)


def test_record__is_one_line_of_ascii_and_always_the_same() -> None:
    data = write_record(annotation(), NAMES)
    assert data == write_record(annotation(), dict(reversed(NAMES.items())))
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    assert data.isascii()


def test_record__can_be_read_without_samcli() -> None:
    record = json.loads(write_record(annotation(), NAMES))
    first, second = record["instances"]
    assert (record["version"], record["height"], record["width"]) == (1, 20, 30)
    assert (first["class_id"], first["class_name"], first["area"]) == (5, "bus", int(ring().area))
    assert first["prompt_box"] == [1.5, 2.25, 19.0, 16.125]
    assert first["quality"] == {
        "detector_score": 0.9,
        "predicted_iou": 0.95,
        "stability": 0.99,
        "box_iou": 0.85,
        "polygon_iou": 0.981,
    }
    np.testing.assert_array_equal(coco.decode([first["mask"]])[..., 0].astype(bool), ring().pixels())
    assert second["prompt_box"] is None
    assert set(second["quality"].values()) == {None}
    assert record["dropped"] == [
        {
            "reason": "empty mask",
            "class_id": 7,
            "class_name": None,
            "prompt_box": [0.0, 1.0, 2.0, 3.0],
            "detector_score": 0.5,
        }
    ]


def test_record__rounds_figures_to_nine_digits_and_is_stable_from_then_on() -> None:
    instance = Instance(
        ring(), 0, Quality(predicted_iou=1 / 3), (0.12345670911, 1.0, 2.0, float(np.float32(0.1)) + 3)
    )
    read = read_record(write_record(Annotation("1.jpg", (20, 30), (instance,)), NAMES))
    assert read.instances[0].quality.predicted_iou == 0.333333333
    assert read.instances[0].prompt_box == (0.123456709, 1.0, 2.0, 3.1)
    assert write_record(read_record(write_record(read, NAMES)), NAMES) == write_record(read, NAMES)


@given(st.floats(0, 1))
@settings(max_examples=30)
def test_record__keeps_figures_to_a_millionth(value: float) -> None:
    given_ = Annotation("1.jpg", (20, 30), (Instance(ring(), 0, Quality(stability=value)),))
    (instance,) = read_record(write_record(given_, NAMES)).instances
    assert instance.quality.stability == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"{}", b'{"version": 2}', b"\xff"],
    ids=["nothing", "torn", "list", "null", "no version", "later version", "no text"],
)
def test_read_record__refuses_what_is_no_record(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_record(data)


def test_read_record__refuses_a_mask_of_another_size() -> None:
    record = json.loads(write_record(annotation(), NAMES))
    record["instances"][0]["mask"]["size"] = [20, 31]
    with pytest.raises(ValueError, match=r"a mask of \[20, 31\] pixels in an image of \[20, 30\]"):
        read_record(json.dumps(record).encode())


def test_read_record__refuses_a_record_that_lost_a_field() -> None:
    record = json.loads(write_record(annotation(), NAMES))
    del record["instances"]
    with pytest.raises(ValueError, match="it has no instances"):
        read_record(json.dumps(record).encode())
    record["instances"] = [{"mask": None}]
    with pytest.raises(ValueError, match="damaged: TypeError"):
        read_record(json.dumps(record).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"key": "../x.jpg"}, {"key": None}, {"height": "20"}, {"height": 0}, {"width": 10**9}, {"width": True},
        {"instances": {}}, {"instances": [5]}, {"instances": [[]]}, {"dropped": None}, {"dropped": [{"reason": 5}]},
    ],
)  # fmt: skip
def test_read_record__refuses_entries_of_another_kind(change: dict) -> None:
    record = json.loads(write_record(annotation(), NAMES))
    with pytest.raises(ValueError):
        read_record(json.dumps({**record, **change}).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"class_id": "0"}, {"class_id": 1.5}, {"mask": []}, {"mask": {"size": [20, 30], "counts": [1, 2]}},
        {"mask": {"size": [20, 30], "counts": "0" * 9}}, {"mask": {"size": [20, 30], "counts": "\u00e9"}},
        {"quality": {"stability": "high"}}, {"quality": {"other": 1}}, {"quality": None}, {"prompt_box": [1, 2, 3]},
        {"prompt_box": [1, 2, 3, 1e999]}, {"prompt_box": "1234"}, {"prompt_points": [[1, 2]]},
        {"prompt_points": [[1e999, 2, 1]]}, {"crop_box": [1]}, {"crop_box": 7},
    ],
)  # fmt: skip
def test_read_record__refuses_an_instance_of_another_kind(change: dict) -> None:
    record = json.loads(write_record(annotation(), NAMES))
    record["instances"][0].update(change)
    with pytest.raises(ValueError):
        read_record(json.dumps(record).encode())


def test_read_record__nested_deeply_is_damaged() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        read_record(b'{"a":' * 100_000)


# What reviews and readers say.


def test_record__keeps_which_verdict_it_was() -> None:
    bus, person = annotation().instances
    given_ = replace(
        annotation(),
        instances=(),
        dropped=(rejection(bus, 0, Verdict.NO_OBJECT), rejection(person, 1, Verdict.BAD_MASK)),
    )
    assert read_record(write_record(given_, NAMES)) == given_


@pytest.mark.parametrize("mark", ImageMark)
def test_record__keeps_marks_of_the_image_and_the_number_of_omitted_objects(mark) -> None:
    given_ = replace(annotation(), mark=mark, omitted=3)
    assert read_record(write_record(given_, NAMES)) == given_


def test_record__of_a_complete_image_has_no_word_about_it() -> None:
    record = json.loads(write_record(annotation(), NAMES))
    assert record.keys() == {"version", "key", "height", "width", "instances", "dropped"}


def test_rejection_of_an_earlier_version__counts_as_a_bad_mask() -> None:
    (bus, _) = annotation().instances
    given_ = replace(annotation(), dropped=(rejection(bus, 0, Verdict.BAD_MASK),))
    row = json.loads(write_record(given_, NAMES))
    del row["dropped"][0]["verdict"]
    row["dropped"][0]["reason"] = "rejected in review"
    assert read_record(json.dumps(row).encode()) == given_
