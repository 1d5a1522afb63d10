"""Files of the right outer shape with anything in them give objects, counted omissions or one clear error."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from label_samples import write_images

from samcli.errors import UsageError
from samcli.labels.formats.reading import read_labels
from samcli.labels.formats.sources import Failure, Source
from samcli.types import Annotation

SIZE = (20, 30)
PYTHON_TEXT = re.compile(
    r"NoneType|has no len|Traceback|object is not|unhashable|unpack|indices must|<class|invalid literal"
)

numbers = st.one_of(
    st.floats(-50, 50), st.floats(), st.integers(-3, 40), st.sampled_from([1e300, -1e9, 10**400, 2**70, 0, -0.0])
)
plain = st.one_of(
    st.none(), st.booleans(), numbers, st.text(max_size=5), st.sampled_from(["1", "nan", "cat", "1e999"])
)
anything = st.recursive(
    plain,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)
points = st.one_of(st.lists(st.lists(numbers, min_size=2, max_size=2), max_size=5), anything)


def members(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of which each member may be absent or anything."""
    return st.fixed_dictionaries({}, optional={name: st.one_of(own, anything) for name, own in fields.items()})


labelme = st.fixed_dictionaries(
    {
        "shapes": st.lists(
            st.one_of(
                anything,
                members(
                    label=st.sampled_from(["cat", ""]),
                    points=points,
                    group_id=st.integers(0, 1),
                    mask=st.text(max_size=9),
                    shape_type=st.sampled_from(["polygon", "rectangle", "circle", "mask", "rotation", "point"]),
                    predicted_iou=numbers,
                ),
            ),
            max_size=4,
        )
    },
    optional={
        "imagePath": st.one_of(st.just("1.png"), anything),
        "imageHeight": st.one_of(st.just(20), anything),
        "imageWidth": st.one_of(st.just(30), anything),
    },
)
region = members(
    id=st.sampled_from(["a", "b"]),
    original_width=st.just(30),
    original_height=st.just(20),
    score=numbers,
    image_rotation=st.sampled_from([0, 90, 45]),
    meta=anything,
    type=st.sampled_from(
        ["polygonlabels", "rectanglelabels", "ellipselabels", "brushlabels", "labels", "brush", "x"]
    ),
    value=members(
        points=points,
        x=numbers,
        y=numbers,
        width=numbers,
        height=numbers,
        radiusX=numbers,
        radiusY=numbers,
        rotation=numbers,
        rle=st.lists(st.integers(-1, 300), max_size=20),
        labels=st.just(["cat"]),
        polygonlabels=st.just(["cat"]),
        rectanglelabels=st.just(["dog"]),
    ),
)
labelstudio = st.lists(
    st.fixed_dictionaries(
        {
            "data": st.one_of(
                st.just({"image": "1.png"}), st.dictionaries(st.text(max_size=3), anything, max_size=2)
            )
        },
        optional={
            name: st.one_of(
                anything,
                st.lists(
                    members(result=st.lists(st.one_of(anything, region), max_size=4), was_cancelled=st.booleans()),
                    max_size=2,
                ),
            )
            for name in ("annotations", "predictions")
        },
    ),
    max_size=2,
)
mask = members(
    segmentation=members(
        size=st.just([20, 30]), counts=st.one_of(st.text(max_size=9), st.lists(numbers, max_size=5))
    ),
    predicted_iou=numbers,
    stability_score=numbers,
    point_coords=points,
    crop_box=st.lists(numbers, max_size=5),
)
sa1b = st.fixed_dictionaries(
    {
        "image": st.one_of(members(file_name=st.just("1.png"), width=st.just(30), height=st.just(20)), anything),
        "annotations": st.one_of(st.lists(st.one_of(mask, anything), max_size=4), anything),
    }
)
rle = st.one_of(st.lists(st.one_of(mask, anything), max_size=4), anything)


def check(name: str, file: Path, folder: Path) -> None:
    """Reading gives images, failures and omissions in plain words, or is refused in one."""
    images = write_images(folder / "images", [Annotation("1.png", SIZE)])
    source = Source(file, images)
    try:
        labels = read_labels(name, source)
        found = list(labels.annotations)
    except UsageError as error:
        assert not PYTHON_TEXT.search(str(error)), error
        return
    said = [item.reason for item in found if isinstance(item, Failure)] + labels.omitted.lines()
    assert not [text for text in said if PYTHON_TEXT.search(text) or "\n" in text]
    for item in found:
        if isinstance(item, Annotation):
            assert item.image_size == SIZE
            assert all((one.mask.height, one.mask.width) == SIZE for one in item.instances)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "content", "file"),
    [
        ("labelme", labelme, "1.json"),
        ("labelstudio", labelstudio, "tasks.json"),
        ("sa1b", sa1b, "1.json"),
        ("rle", rle, "1.json"),
    ],
)
def test_any_json__gives_objects_omissions_or_one_clear_error(name, content, file, tmp_path_factory) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(content)
    def run(value: Any) -> None:
        folder = tmp_path_factory.mktemp("any")
        (folder / "in").mkdir()
        (folder / "in" / file).write_text(json.dumps(value))
        check(name, folder / "in" / file if name == "labelstudio" else folder / "in", folder)

    run()


word = st.one_of(numbers.map(str), st.text("abc1.,;- ", max_size=8), st.sampled_from(["", "nan", "1,1;2,2;3,9"]))
ATTRIBUTES = (
    "label",
    "points",
    "xtl",
    "ytl",
    "xbr",
    "ybr",
    "cx",
    "cy",
    "rx",
    "ry",
    "rotation",
    "rle",
    "left",
    "top",
    "width",
    "height",
)
tag = st.sampled_from(["polygon", "box", "ellipse", "mask", "points", "tag", "odd"])
cvat_shape = st.builds(
    lambda name, values: f"<{name} {' '.join(f'{key}={quoteattr(value)}' for key, value in values.items())}/>",
    tag,
    st.dictionaries(st.sampled_from(ATTRIBUTES), word, max_size=8),
)
voc_part = st.builds(
    lambda name, values: (
        f"<{name}>" + "".join(f"<{key}>{value}</{key}>" for key, value in values.items()) + f"</{name}>"
    ),
    st.sampled_from(["bndbox", "polygon", "robndbox", "part"]),
    st.dictionaries(
        st.sampled_from(
            ["xmin", "ymin", "xmax", "ymax", "x1", "y1", "x2", "y2", "x3", "y3", "cx", "cy", "w", "angle"]
        ),
        numbers.map(str),
        max_size=6,
    ),
)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", ["cvat", "voc"])
def test_any_xml__gives_objects_omissions_or_one_clear_error(name, tmp_path_factory) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(cvat_shape if name == "cvat" else voc_part, max_size=4), word)
    def run(shapes: list[str], size: str) -> None:
        folder = tmp_path_factory.mktemp("any")
        (folder / "in").mkdir()
        if name == "cvat":
            own = f"name='1.png' width={quoteattr(size)} height='20'"
            text = f"<annotations><image {own}>{''.join(shapes)}</image></annotations>"
        else:
            objects = "".join(f"<object><name>cat</name>{shape}</object>" for shape in shapes)
            text = f"<annotation><filename>1.png</filename><size><width>{size}</width></size>{objects}</annotation>"
        (folder / "in" / "annotations.xml").write_text(text)
        check(name, folder / "in", folder)

    run()
