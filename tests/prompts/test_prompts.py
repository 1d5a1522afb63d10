"""What asks for an object: values, images' edges, grouping, the command line, and which file is which."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samcli.errors import ImageError, UsageError
from samcli.images import find_images, read_image
from samcli.prompts import (
    ObjectPrompt,
    PromptSource,
    command_line_prompts,
    fit_to_image,
    group,
    open_prompts,
)

EXAMPLES = Path(__file__).parents[2] / "examples"
SIZE = (480, 640)


def logits_file(path: Path, shape: tuple[int, ...] = (8, 8), dtype: str = "float32") -> Path:
    np.save(path, np.arange(np.prod(shape)).reshape(shape).astype(dtype))
    return path


# Values


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "nothing given"),
        ({"points": ((1, 2),), "point_labels": (0,)}, "only background points"),
        ({"points": ((1, 2), (3, 4)), "point_labels": (1,)}, "1 labels for 2 points"),
        ({"points": ((1, 2),), "point_labels": (2,)}, "label 2"),
        ({"points": ((1, float("nan")),), "point_labels": (1,)}, "not finite"),
        ({"box": (10, 10, 10, 20)}, r"box \(10, 10, 10, 20\) is empty"),
        ({"box": (10, 10, 5, 20)}, "is empty"),
        ({"box": (0, 0, float("inf"), 20)}, "is empty"),
        ({"rings": (((0, 0), (1, 1)),)}, "three points"),
        ({"rings": (((0, 0), (1, 1), (2, 0)),), "box": (0, 0, 1, 1)}, "takes no box"),
    ],
)
def test_object__that_makes_no_sense_is_refused_with_its_place(arguments, reason) -> None:
    with pytest.raises(UsageError, match=f"^prompts.csv:12: .*{reason}"):
        ObjectPrompt(**arguments, where="prompts.csv:12")


def test_object__background_points_may_go_with_a_box_or_a_mask(tmp_path) -> None:
    background = {"points": ((1, 2),), "point_labels": (0,)}
    ObjectPrompt(box=(0, 0, 5, 5), **background)
    ObjectPrompt(mask_input=tmp_path / "1.npy", **background)


# The image's edges


def test_box__that_reaches_over_the_edge_is_cut_there() -> None:
    fitted = fit_to_image(ObjectPrompt(box=(-3, -2, 640.4, 480.1)), SIZE)
    assert fitted.box == (0, 0, 640, 480)
    inside = ObjectPrompt(box=(0, 0, 640, 480))
    assert fit_to_image(inside, SIZE) is inside


@pytest.mark.parametrize("box", [(640, 0, 700, 10), (-20, 0, -1, 10), (0, 500, 10, 510), (639.99999999, 0, 700, 9)])
def test_box__without_a_part_in_the_image_is_refused(box) -> None:
    with pytest.raises(ImageError, match=r"x:3: box .* outside the image of 640 x 480 pixels \(width x height\)"):
        fit_to_image(ObjectPrompt(box=box, where="x:3"), SIZE)


def test_point__outside_the_image_is_refused_with_the_point_and_the_size() -> None:
    fit_to_image(ObjectPrompt(points=((640, 480), (0, 0)), point_labels=(1, 0)), SIZE)
    for point in ((640.5, 10), (10, 481), (-1, 3)):
        with pytest.raises(ImageError, match=rf"point \({point[0]:g}, {point[1]:g}\) is outside .* 640 x 480"):
            fit_to_image(ObjectPrompt(points=((5, 5), point), point_labels=(1, 1)), SIZE)


# Grouping


BOXES = st.tuples(st.floats(0, 99, width=32), st.floats(0, 99, width=32)).map(
    lambda xy: (xy[0], xy[1], xy[0] + 7, xy[1] + 9)
)
POINTS = st.lists(
    st.tuples(st.floats(0, 99, width=32), st.floats(0, 99, width=32), st.sampled_from((0, 1))), max_size=3
)


@st.composite
def objects(draw: st.DrawFn) -> ObjectPrompt:
    points = draw(POINTS)
    labels = [label for *_, label in points]
    box = draw(BOXES if 1 not in labels else st.none() | BOXES)
    return ObjectPrompt(box=box, points=tuple((x, y) for x, y, _ in points), point_labels=tuple(labels))


@given(st.lists(objects(), max_size=20))
def test_group__gives_every_object_its_own_prompts_unpadded(prompts) -> None:
    seen = []
    for indices, together in group(prompts):
        assert len(indices) == len(together)
        seen += indices
        for row, index in enumerate(indices):
            alone = prompts[index]
            assert (together.boxes is None) == (alone.box is None)
            if together.boxes is not None:
                np.testing.assert_array_equal(together.boxes[row], np.array(alone.box, np.float32))
            assert (together.points is None) == (not alone.points)
            if together.points is not None:
                np.testing.assert_array_equal(together.points[row], np.array(alone.points, np.float32))
                assert tuple(together.point_labels[row]) == alone.point_labels
    assert sorted(seen) == list(range(len(prompts)))


@given(st.lists(objects(), max_size=20))
def test_group__makes_as_few_batches_as_there_are_kinds(prompts) -> None:
    kinds = {(prompt.box is None, len(prompt.points)) for prompt in prompts}
    assert len(group(prompts)) == len(kinds)


def test_group__reads_masks_and_keeps_different_sizes_apart(tmp_path) -> None:
    small = logits_file(tmp_path / "small.npy", (1, 8, 8))
    same = logits_file(tmp_path / "same.npy", (8, 8), "float16")
    large = logits_file(tmp_path / "large.npy", (16, 16), "float64")
    prompts = [ObjectPrompt(mask_input=path) for path in (small, large, same)]
    (first, together), (second, alone) = group(prompts)
    assert (first, second) == ([0, 2], [1])
    assert together.mask_logits.shape == (2, 8, 8)
    assert together.mask_logits.dtype == np.float32
    assert alone.mask_logits[0, 0, 3] == 3


def test_group__leaves_out_polygons_that_are_kept() -> None:
    ring = (((0.0, 0.0), (5.0, 0.0), (5.0, 5.0)),)
    prompts = [ObjectPrompt(rings=ring), ObjectPrompt(box=(0, 0, 5, 5))]
    assert [indices for indices, _ in group(prompts)] == [[1]]


def test_mask_input__that_is_no_logits_fails_its_image_alone(tmp_path) -> None:
    text = tmp_path / "text.npy"
    text.write_text("no numbers")
    pickled = tmp_path / "pickled.npy"
    np.save(pickled, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    several = tmp_path / "several.npz"
    np.savez(several, a=np.zeros((8, 8)), b=np.zeros((8, 8)))
    infinite = tmp_path / "infinite.npy"
    np.save(infinite, np.full((8, 8), np.inf, np.float32))
    for path, reason in (
        (tmp_path / "none.npy", "cannot be read: No such file"),
        (text, "no .npy file"),
        (pickled, "no .npy file"),
        (several, "several arrays"),
        (infinite, "not finite"),
        (logits_file(tmp_path / "cube.npy", (2, 8, 8)), "the logits of 2 masks; expected those of one"),
        (logits_file(tmp_path / "whole.npy", (8, 8), "uint8"), "uint8"),
        (logits_file(tmp_path / "empty.npy", (0, 8)), r"\(0, 8\)"),
    ):
        with pytest.raises(ImageError, match=f"^p.json:4: mask_input .*{reason}"):
            group([ObjectPrompt(mask_input=path, where="p.json:4")])


# The command line


def test_command_line__all_points_are_one_object() -> None:
    source = command_line_prompts(["10,20", "30.5,40,0", "5,6,1"], [])
    (prompt,) = source.for_image("any.jpg", SIZE)
    assert prompt.points == ((10, 20), (30.5, 40), (5, 6))
    assert prompt.point_labels == (1, 0, 1)
    assert prompt.box is None
    assert source.names == {0: "object"}
    assert source.keys() is None


def test_command_line__each_box_is_an_object_and_one_box_takes_the_points_and_the_mask(tmp_path) -> None:
    several = command_line_prompts([], ["1,2,3,4", "5,6,7,8"]).for_image("a.jpg", SIZE)
    assert [prompt.box for prompt in several] == [(1, 2, 3, 4), (5, 6, 7, 8)]
    mask = tmp_path / "1.npy"
    (one,) = command_line_prompts(["2,3"], ["1,2,3,4"], mask).for_image("a.jpg", SIZE)
    assert (one.box, one.points, one.mask_input) == ((1, 2, 3, 4), ((2, 3),), mask)
    (only,) = command_line_prompts([], [], mask).for_image("a.jpg", SIZE)
    assert only.mask_input == mask


@pytest.mark.parametrize(
    ("points", "boxes", "mask", "reason"),
    [
        ([], [], None, "no prompt: give --point"),
        (["10"], [], None, "--point 10: expected x,y or x,y,label"),
        (["1,2,3"], [], None, "--point 1,2,3: expected"),
        (["a,b"], [], None, "--point a,b: expected"),
        (["1,nan"], [], None, "--point 1,nan: expected"),
        (["1,2,0"], [], None, "only background"),
        ([], ["1,2,3"], None, "--box 1,2,3: expected x1,y1,x2,y2"),
        ([], ["5,2,3,9"], None, "--box 5,2,3,9: box .* empty"),
        (["1,2"], ["1,2,3,4", "5,6,7,8"], None, "2 boxes and --point: which .* --prompts"),
        ([], ["1,2,3,4", "5,6,7,8"], Path("m.npy"), "2 boxes and --mask-input: which"),
    ],
)
def test_command_line__that_cannot_be_meant_is_refused(points, boxes, mask, reason) -> None:
    with pytest.raises(UsageError, match=reason):
        command_line_prompts(points, boxes, mask)


def test_command_line__point_outside_an_image_fails_that_image() -> None:
    source = command_line_prompts(["700,20"], [])
    source.for_image("wide.jpg", (480, 1000))
    with pytest.raises(ImageError, match=r"--point: point \(700, 20\) is outside"):
        source.for_image("small.jpg", SIZE)


def test_command_line__what_it_says_is_in_recipe_and_digest(tmp_path) -> None:
    mask = logits_file(tmp_path / "1.npy")
    sources = [
        command_line_prompts(["1,2"], []),
        command_line_prompts(["1,2,0"], ["0,0,9,9"]),
        command_line_prompts(["1,2,1"], ["0,0,9,9"]),
        command_line_prompts(["1,2"], [], mask),
    ]
    assert len({source.digest("a.jpg") for source in sources}) == len(sources)
    assert len({json.dumps(source.recipe()) for source in sources}) == len(sources)
    assert sources[0].digest("a.jpg") == command_line_prompts(["1.0,2"], []).digest("b.jpg")
    before = sources[3].digest("a.jpg")
    logits_file(mask, (4, 4))
    assert sources[3].digest("a.jpg") != before


# Which file is which


def test_open__tells_files_by_their_suffix_and_a_json_by_its_content(tmp_path) -> None:
    (tmp_path / "p.CSV").write_text("image,x,y\na.jpg,1,2\n")
    (tmp_path / "p.ndjson").write_text('{"image": "a.jpg", "points": [[1, 2]]}\n')
    (tmp_path / "p.json").write_text('{"images": {"a.jpg": [{"points": [[1, 2]]}]}}')
    (tmp_path / "list.json").write_text('[{"image": "a.jpg", "points": [[1, 2]]}]')
    for name in ("p.CSV", "p.ndjson", "p.json", "list.json"):
        (prompt,) = open_prompts(tmp_path / name).for_image("a.jpg", SIZE)
        assert prompt.points == ((1, 2),), name
    coco = {
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    assert open_prompts(tmp_path / "coco.json").for_image("a.jpg", SIZE)[0].box == (1, 2, 4, 6)


def test_open__what_it_does_not_know_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        open_prompts(tmp_path / "none.json")
    label = tmp_path / "1.txt"
    label.touch()
    with pytest.raises(UsageError, match=r"expected .json, .jsonl, .csv, .* give their folder"):
        open_prompts(label)


# The page and the example files


def examples_in_the_page() -> list[tuple[str, str]]:
    """(kind, text) of each block in docs/prompts.md."""
    page = EXAMPLES.parent / "docs" / "prompts.md"
    if not page.is_file():
        return []
    return re.findall(r"^```(json|jsonl|csv|)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def test_page__every_example_in_it_can_be_read(tmp_path) -> None:
    blocks = examples_in_the_page()
    if not blocks:
        pytest.skip("the docs are in the repository only")
    assert [kind for kind, _ in blocks] == ["json", "json", "jsonl", "csv", "csv", "json", ""]
    for number, (kind, text) in enumerate(blocks):
        path = tmp_path / f"{number}.{kind}" if kind else tmp_path / "labels" / "a" / "1.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        source = open_prompts(path if kind else tmp_path / "labels").matched(["a/1.jpg", "a/2.jpg"])
        assert source.for_image("a/1.jpg", SIZE), text


def example_images() -> dict[str, tuple[int, int]]:
    return {ref.key: read_image(ref).image_size for ref in find_images(EXAMPLES / "shapes")}


def is_source(source: PromptSource) -> PromptSource:
    return source  # for mypy: every kind is one


def test_examples__fit_their_images_and_say_the_same() -> None:
    images = example_images()
    said = {}
    for name in ("shapes.json", "shapes.csv"):
        source = is_source(open_prompts(EXAMPLES / "prompts" / name).matched(images))
        said[name] = {
            key: [
                (source.names[o.class_id], o.box) for o in source.for_image(key, images[key])
            ]
            for key in images
        }  # fmt: skip
        assert len(source.keys()) in (3, 4)
    said["shapes.json"]["nothing.jpg"] = []
    assert said["shapes.json"] == said["shapes.csv"]
    assert sum(map(len, said["shapes.csv"].values())) == 4


@pytest.mark.parametrize("name", ["shapes.json", "shapes.csv"])
def test_examples__prompts_lie_on_the_objects_of_their_class(name) -> None:
    images = example_images()
    source = open_prompts(EXAMPLES / "prompts" / name)
    for key in source.keys():  # noqa: SIM118 - a source, not a dict
        truth = json.loads((EXAMPLES / "shapes_truth" / f"{key}.json").read_text())["objects"]
        for prompt in source.for_image(key, images[key]):
            boxes = [tuple(o["box"]) for o in truth if o["class"] == source.names[prompt.class_id]]
            if prompt.box:
                assert prompt.box in boxes
            for (x, y), label in zip(prompt.points, prompt.point_labels, strict=True):
                assert label == any(x1 <= x < x2 and y1 <= y < y2 for x1, y1, x2, y2 in boxes)
