"""COCO files: boxes, categories and file names as the format has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from samcli.errors import ImageError, UsageError
from samcli.prompts import PromptSource, open_prompts

SIZE = (480, 640)


def annotation(
    image_id: Any = 10, category_id: Any = 3, bbox: Any = (10, 20, 30, 40), **more: Any
) -> dict[str, Any]:
    return {"id": 1, "image_id": image_id, "category_id": category_id, "bbox": bbox, **more}


def coco(*annotations: dict[str, Any], files: tuple[str, ...] = ("a.jpg", "b.jpg"), **more: Any) -> dict[str, Any]:
    """Images 10, 11, ...; categories 3 dog, 1 person, 90 brush."""
    return {
        "info": {"year": 2017, "version": None},
        "licenses": [{"id": 1}],
        "images": [{"id": 10 + n, "file_name": name, "height": 480, "width": 640} for n, name in enumerate(files)],
        "annotations": list(annotations),
        "categories": [{"id": 3, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 90, "name": "brush"}],
        **more,
    }


def opened(folder: Path, content: object) -> PromptSource:
    path = folder / "instances.json"
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return open_prompts(path)


def test_boxes__become_corners_with_their_own_class_and_score(tmp_path) -> None:
    content = coco(
        annotation(), annotation(11, 90, [0, 0, 5.5, 6], score=0.5), annotation(10, 1, segmentation=[[1] * 6])
    )
    source = opened(tmp_path, content)
    assert source.names == {0: "person", 1: "dog", 2: "brush"}
    first, second = source.for_image("a.jpg", SIZE)
    assert first.box == (10, 20, 40, 60)
    assert [source.names[prompt.class_id] for prompt in (first, second)] == ["dog", "person"]
    (third,) = source.for_image("b.jpg", SIZE)
    assert (third.box, third.score, source.names[third.class_id]) == ((0, 0, 5.5, 6), 0.5, "brush")


def test_parts__may_come_in_any_order(tmp_path) -> None:
    content = coco(annotation(), annotation(11, 1))
    forward = opened(tmp_path, content)
    digests = [forward.digest(key) for key in ("a.jpg", "b.jpg")]
    backward = opened(tmp_path, dict(reversed(list(content.items()))))
    assert [backward.digest(key) for key in ("a.jpg", "b.jpg")] == digests
    assert backward.names == forward.names


def test_image_without_annotations__is_known_to_have_no_objects(tmp_path) -> None:
    source = opened(tmp_path, coco(annotation())).matched(["a.jpg", "b.jpg"])
    assert source.for_image("b.jpg", SIZE) == []
    assert source.digest("b.jpg")


def test_crowds_and_boxes_without_area__are_left_out_and_counted(tmp_path) -> None:
    content = coco(annotation(iscrowd=1), annotation(bbox=[5, 5, 0, 10]), annotation(iscrowd=0))
    source = opened(tmp_path, content)
    assert len(source.for_image("a.jpg", SIZE)) == 1
    notes = "\n".join(source.notes)
    assert "1 object was left out: a crowd region" in notes
    assert "1 object was left out: box (5, 5, 5, 15) has no area" in notes
    assert source.omitted("a.jpg") == 2


def test_file_names__that_are_keys_match_and_the_rest_is_counted(tmp_path) -> None:
    source = opened(tmp_path, coco(annotation(), annotation(11), files=("x/a.jpg", "x/b.jpg", "x/c.jpg")))
    source = source.matched(["x/a.jpg", "y/b.jpg"])
    assert list(source.keys()) == ["x/a.jpg"]
    assert len(source.for_image("x/a.jpg", SIZE)) == 1
    assert sorted(source.lost) == ["x/b.jpg", "x/c.jpg"]  # which makes the exit status 3
    notes = " ".join(source.notes)
    assert "2 images of" in notes
    assert "1 of 2 images are not in" in notes


@pytest.mark.parametrize("name", ["train2017/a.jpg", "C:\\photos\\a.jpg", "a.jpg"])
def test_file_names__match_by_base_name_where_none_is_a_key(tmp_path, name) -> None:
    source = opened(tmp_path, coco(annotation(), files=(name, "other/b.jpg"))).matched(["deep/a.jpg", "deep/c.jpg"])
    assert list(source.keys()) == ["deep/a.jpg"]
    assert len(source.for_image("deep/a.jpg", SIZE)) == 1


def test_file_names__that_fit_two_images_fail_these_and_none_is_refused(tmp_path) -> None:
    source = opened(tmp_path, coco(annotation(), files=("a.jpg",))).matched(["1/a.jpg", "2/a.jpg"])
    with pytest.raises(ImageError, match=r"could be 1/a.jpg or 2/a.jpg"):
        source.for_image("2/a.jpg", SIZE)
    source = opened(tmp_path, coco(annotation(), files=("x/a.jpg", "y/a.jpg"))).matched(["1/a.jpg"])
    with pytest.raises(ImageError, match=r"list this image twice: 'x/a.jpg' and 'y/a.jpg'"):
        source.for_image("1/a.jpg", SIZE)
    with pytest.raises(UsageError, match=r"none of the images; its first is 'a.jpg'"):
        opened(tmp_path, coco()).matched(["c.jpg"])


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("https://host/data/a%20b.jpg?token=1", "deep/a b.jpg"),
        ("/data/local-files/?d=deep/a%20b.jpg", "deep/a b.jpg"),
        ("/data/upload/3/1a2b3c4d-a.jpg", "a.jpg"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
        ("..\\..\\photos\\deep\\a.jpg", "deep/a.jpg"),
        ("50% off?#1.jpg", "50% off?#1.jpg"),
    ],
)
def test_file_names__are_found_as_tools_write_them(tmp_path, name, key) -> None:
    source = opened(tmp_path, coco(annotation(), files=(name,))).matched([key, "other/z.jpg"])
    assert list(source.keys()) == [key]
    assert len(source.for_image(key, SIZE)) == 1


def test_stated_size__that_is_not_the_images_fails_that_image(tmp_path) -> None:
    source = opened(tmp_path, coco(annotation()))
    with pytest.raises(ImageError, match=r"640 x 480 pixels, and this one has 480 x 640, upright: .* EXIF"):
        source.for_image("a.jpg", (640, 480))
    with pytest.raises(ImageError, match="640 x 480 pixels, and this one has 320 x 240: it has been resized"):
        source.for_image("a.jpg", (240, 320))
    content = coco(annotation())
    content["images"][0] |= {"height": None, "width": 0}
    assert len(opened(tmp_path, content).for_image("a.jpg", (640, 480))) == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (annotation(category_id=2), "category_id 2 is not among the categories"),
        (annotation(category_id=None), "category_id null is not among the categories"),
        (annotation(bbox=[1, 2, 3]), "bbox has 3 numbers"),
        (annotation(bbox=None), "neither segmentation nor bbox"),
        (annotation(bbox=[1, 2, float("nan"), 4]), "finite"),
        (annotation(bbox=[1, 2, 10**400, 4]), "expected a"),
        (annotation(bbox=[9000, 2, 3, 4]), "outside the image of 640 x 480"),
        (annotation(score="x"), "score is 'x'"),
    ],
)
def test_bad_annotation__is_left_out_alone_with_its_reason(tmp_path, bad, reason) -> None:
    source = opened(tmp_path, coco({**bad, "id": 77}, annotation(), {**bad, "image_id": 11, "id": 78}))
    assert len(source.for_image("a.jpg", SIZE)) == 1
    (note,) = source.notes
    assert "1 object was left out" in note and reason in note and "annotation 77" in note
    with pytest.raises(ImageError, match="annotation 78"):  # nothing known is not nothing there
        source.for_image("b.jpg", SIZE)


def test_ids__are_one_as_numbers_and_as_text(tmp_path) -> None:
    content = coco(annotation("10", "3"), annotation(10.0, 3))
    content["categories"][1]["id"] = "1"
    source = opened(tmp_path, content)
    assert source.names == {0: "person", 1: "dog", 2: "brush"}
    assert [prompt.class_id for prompt in source.for_image("a.jpg", SIZE)] == [1, 1]


def test_category_names__that_are_missing_or_repeated_become_usable_and_are_said(tmp_path) -> None:
    names = ["cat", "cat", "", None]
    content = coco(annotation(), categories=[{"id": n, "name": name} for n, name in enumerate(names, 1)])
    source = opened(tmp_path, content)
    assert source.names == {0: "cat", 1: "cat-2", 2: "class3", 3: "class4"}
    assert len([note for note in source.notes if "is called" in note]) == 3


def test_annotations__of_unknown_or_repeated_images_are_said(tmp_path) -> None:
    source = opened(tmp_path, coco(annotation(99), annotation())).matched(["a.jpg", "b.jpg"])
    assert "has 1 annotations of it, but not the image" in "\n".join(source.notes)
    assert list(source.lost) == ["image_id 99"]
    images = [{"id": 1, "file_name": name} for name in ("a.jpg", "b.jpg")]
    source = opened(tmp_path, coco(annotation(1), images=[*images, {"id": 2, "file_name": "c.jpg"}]))
    source = source.matched(["a.jpg", "b.jpg", "c.jpg"])
    with pytest.raises(ImageError, match=r"image id 1 is that of 'a\.jpg' and 'b\.jpg'"):
        source.for_image("a.jpg", SIZE)
    assert source.for_image("c.jpg", SIZE) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (coco(images=[]), "lists no images"),
        (coco(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]), "category id 1 is both 'a' and 'b'"),
        (coco(annotations=[7]), "annotations has 7"),
    ],
)
def test_file__that_does_not_hold_together_is_refused(tmp_path, content, reason) -> None:
    with pytest.raises(UsageError, match=rf"instances.json.*{reason}"):
        opened(tmp_path, content)


def test_results__are_refused_with_what_is_missing(tmp_path) -> None:
    results = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    with pytest.raises(UsageError, match=r"list of COCO results, .* 'images' and 'categories'"):
        opened(tmp_path, results)
