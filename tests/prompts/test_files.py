"""Prompts files: JSON, JSONL and CSV. What they say comes back; what is wrong is refused with its line."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samcli.errors import ImageError, UsageError
from samcli.labels.json_stream import walk
from samcli.prompts import ObjectPrompt, PromptSource, open_prompts

SIZE = (1000, 1000)


def opened(folder: Path, name: str, content: str | object) -> PromptSource:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return open_prompts(path)


def refused(folder: Path, name: str, content: str | object) -> str:
    """The message, without the folder; it names the file and is a line or two."""
    with pytest.raises(UsageError) as caught:
        opened(folder, name, content)
    message = str(caught.value)
    assert str(folder / name) in message
    assert len(message) < 400
    return message.replace(str(folder) + "/", "")


# What they say comes back


NUMBER = st.floats(0, 900, allow_nan=False).map(lambda v: round(v, 3))
BOX = st.tuples(NUMBER, NUMBER, st.floats(2, 90), st.floats(2, 90)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
KEY = st.sampled_from(["a/1.jpg", "b/1.jpg", "a,b.png", 'x "y".jpg', "größe.jpg"])


@st.composite
def spoken(draw: st.DrawFn) -> dict[str, Any]:
    """An object as a JSON file says it, with its image."""
    points = draw(st.lists(st.tuples(NUMBER, NUMBER), max_size=3))
    said: dict[str, Any] = {"image": draw(KEY)}
    if points:
        labels = draw(st.lists(st.sampled_from([0, 1]), min_size=len(points), max_size=len(points)))
        said |= {"points": [list(point) for point in points], "labels": labels}
    if 1 not in said.get("labels", []) or draw(st.booleans()):
        said["box"] = list(draw(BOX))
    if draw(st.booleans()):
        said["score"] = draw(st.floats(0, 1))
    said["class"] = draw(st.integers(0, 3))
    return said


def expected(said: dict[str, Any]) -> tuple[Any, ...]:
    return (
        tuple(said["box"]) if "box" in said else None,
        tuple(map(tuple, said.get("points", []))),
        tuple(said.get("labels", [])),
        said["class"],
        said.get("score"),
    )


def told(prompt: ObjectPrompt) -> tuple[Any, ...]:
    return prompt.box, prompt.points, prompt.point_labels, prompt.class_id, prompt.score


def as_csv(objects: list[dict[str, Any]]) -> str:
    """One row for each point; the box and the rest with the first."""
    text = io.StringIO()
    columns = ["label", "y", "x", "object", "x2", "class", "x1", "y1", "y2", "score", "image"]
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for number, said in enumerate(objects):
        rows = [
            {"x": x, "y": y, "label": label}
            for (x, y), label in zip(said.get("points", []), said.get("labels", []), strict=True)
        ] or [{}]
        rows[0] |= dict(zip(("x1", "y1", "x2", "y2"), said.get("box", []), strict=False))
        rows[0] |= {"score": said.get("score", ""), "class": said["class"]}
        for row in rows:
            writer.writerow({"image": said["image"], "object": f"n{number}", **row})
    return text.getvalue()


@settings(max_examples=40)
@given(st.lists(spoken(), min_size=1, max_size=12))
def test_round_trip__every_kind_of_file_says_the_same(objects) -> None:
    by_image: dict[str, list[dict[str, Any]]] = {}
    for said in objects:
        by_image.setdefault(said["image"], []).append({k: v for k, v in said.items() if k != "image"})
    contents = {
        "tree.json": json.dumps({"images": by_image}, indent=2),
        "list.json": json.dumps(objects),
        "lines.jsonl": "".join(json.dumps(said) + "\n" for said in objects),
        "table.csv": as_csv(objects),
    }
    with tempfile.TemporaryDirectory() as folder:
        digests = set()
        for name, content in contents.items():
            source = opened(Path(folder), name, content).matched([*by_image, "silent.jpg"])
            assert set(source.keys()) == set(by_image)
            for key, own in by_image.items():
                assert [told(p) for p in source.for_image(key, SIZE)] == [expected(o) for o in own], name
            digests.add(tuple(source.digest(key) for key in by_image))
        assert len(digests) == 1


def test_places__are_file_and_line_in_every_kind(tmp_path) -> None:
    tree = '{\n "images": {\n  "a.jpg": [\n   {"box": [1, 1, 5, 5]},\n\n   {"box":\n [1, 1, 6, 6]}\n]}}'
    lines = '{"image": "a.jpg", "box": [1, 1, 5, 5]}\n\n{"image": "a.jpg", "box": [1, 1, 6, 6]}\n'
    table = "image,x1,y1,x2,y2\na.jpg,1,1,5,5\n\n\na.jpg,1,1,6,6\n"
    for name, content, places in (("a.json", tree, (4, 6)), ("a.jsonl", lines, (1, 3)), ("a.csv", table, (2, 5))):
        found = opened(tmp_path, name, content).for_image("a.jpg", SIZE)
        assert [prompt.where for prompt in found] == [f"{tmp_path / name}:{line}" for line in places]


def test_files_of_spreadsheets__byte_order_mark_and_line_ends_do_not_matter(tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfimage, x , y\r\na.jpg, 10 ,20\r\n")
    assert open_prompts(path).for_image("a.jpg", SIZE)[0].points == ((10, 20),)
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"images": {"a.jpg": []}}')
    assert list(open_prompts(path).keys()) == ["a.jpg"]


def test_mask_input__lies_relative_to_the_prompts_file(tmp_path) -> None:
    for name, content in (
        ("a.json", {"images": {"1.jpg": [{"mask_input": "masks/1.npy"}]}}),
        ("a.csv", "image,mask_input\n1.jpg,masks/1.npy\n"),
    ):
        (prompt,) = opened(tmp_path, name, content).for_image("1.jpg", SIZE)
        assert prompt.mask_input == tmp_path / "masks" / "1.npy"


def test_image_with_an_empty_list__is_known_to_have_no_objects(tmp_path) -> None:
    source = opened(tmp_path, "a.json", {"images": {"none.jpg": []}}).matched(["none.jpg", "silent.jpg"])
    assert list(source.keys()) == ["none.jpg"]
    assert source.for_image("none.jpg", SIZE) == source.for_image("silent.jpg", SIZE) == []
    assert source.digest("none.jpg") != source.digest("silent.jpg") == ""
    assert any("1 of 2 images are not in" in note for note in source.notes)


# CSV: rows and objects


def test_csv__rows_of_an_object_make_up_one_in_any_order_and_others_stand_alone(tmp_path) -> None:
    text = (
        "image,object,x1,y1,x2,y2,x,y,label,class\n"
        "a.jpg,7,,,,,1,1,1,cat\n"
        "a.jpg,8,,,,,2,2,,dog\n"
        "b.jpg,7,,,,,9,9,1,dog\n"
        "a.jpg,,5,5,8,8,,,,cat\n"
        "a.jpg,7,0,0,9,9,3,3,0,\n"
        "a.jpg,,,,,,4,4,1,dog\n"
    )
    source = opened(tmp_path, "a.csv", text)
    first, second, third, fourth = source.for_image("a.jpg", SIZE)
    assert (first.box, first.points, first.point_labels) == ((0, 0, 9, 9), ((1, 1), (3, 3)), (1, 0))
    assert (second.points, second.point_labels) == (((2, 2),), (1,))
    assert (third.box, third.points) == ((5, 5, 8, 8), ())
    assert fourth.points == ((4, 4),)
    assert [source.names[p.class_id] for p in (first, second, third, fourth)] == ["cat", "dog", "cat", "dog"]
    assert source.for_image("b.jpg", SIZE)[0].points == ((9, 9),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a.csv:1: .* no columns"),
        ("image;x1;y1;x2;y2\n", "a.csv:1: 'image;x1;y1;x2;y2' are no columns; expected them by comma"),
        ("image,x1,y1,x2,y3\n", "a.csv:1: unknown column 'y3'. Did you mean 'y"),
        ("image,x,y,clas\n", "unknown column 'clas'. Did you mean 'class'"),
        ("image,x,y,x\n", "'x' is there twice"),
        ("x,y,label\n", "no column 'image'"),
        ("image,x1,y1,x2\n", "no column 'y2'"),
        ("image,x1,y1,x2,y2,label\n", "For classes it is 'class'"),
        ("image,class\n", "neither boxes nor points"),
        ("image,x,y\na.jpg,1\n", "a.csv:2: 2 fields; the first line names 3"),
        ("image,x,y\n,1,2\n", "a.csv:2: no image"),
        ("image,x,y\na.jpg,,\n", "a.csv:2: neither a box nor a point"),
        ("image,x,y\na.jpg,1,\n", "y is empty; expected all of x, y"),
        ("image,x,y\na.jpg,1,two\n", "x,y are '1,two'; expected numbers"),
        ("image,x,y\na.jpg,1,nan\n", "expected numbers"),
        ("image,x,y,label\na.jpg,1,2,3\n", "label '3'; expected 1"),
        ("image,x,y,label\na.jpg,1,2,0\n", "a.csv:2: only background points"),
        ("image,x1,y1,x2,y2\na.jpg,1,1,5,5\na.jpg,5,5,1,9\n", "a.csv:3: box .5, 5, 1, 9. is empty"),
        ("image,x1,y1,x2,y2,object\na.jpg,1,1,5,5,1\na.jpg,1,1,6,6,1\n", "a.csv:3: the object has 2 boxes"),
        ("image,x,y,object,class\na.jpg,1,1,1,2\na.jpg,1,1,1,3\n", "a.csv:3: the object has another class"),
        ("image,x,y,object,score\na.jpg,1,1,1,.2\na.jpg,1,1,1,.3\n", "a.csv:3: the object has another score"),
        ("image,mask_input,object\na.jpg,1.npy,1\na.jpg,2.npy,1\n", "a.csv:3: the object has another mask_input"),
        ("image,x,y,class\na.jpg,1,1,99999\n", "a.csv:2: class 99999; expected a name or an id from 0"),
        ("image,x,y\n'a.jpg,1,1\n\"a.jpg,1,1\n", "not CSV"),
    ],
)
def test_csv__that_is_wrong_is_refused_with_its_line(tmp_path, text, reason) -> None:
    import re

    assert re.search(reason, refused(tmp_path, "a.csv", text))


# JSON


def one(**said: Any) -> dict[str, Any]:
    return {"images": {"a.jpg": [said]}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (one(bx=[1, 2, 3, 4]), "a.json:1: unknown 'bx'. Did you mean 'box'"),
        (one(box=[1, 2, 3]), "box is [1, 2, 3]; expected 4 numbers"),
        (one(box=[1, 2, "3", 4]), "expected 4 numbers"),
        (one(box=[1, 2, True, 4]), "expected 4 numbers"),
        (one(box=[1, 2, 10**400, 4]), "expected 4 numbers"),
        ('{"images": {"a.jpg": [{"box": [1, 2, 3, ' + "9" * 5000 + "]}]}}", "expected 4 numbers"),
        (one(box=[1, 2, float("nan"), 4]), "expected 4 numbers"),
        (one(box=[5, 5, 1, 1]), "a.json:1: box (5, 5, 1, 1) is empty"),
        (one(points=[1, 2]), "a point is 1; expected 2 numbers"),
        (one(points={"x": 1}), "expected [[x, y], ...]"),
        (one(points=[[1, 2]], labels=[1, 0]), "2 labels for 1 points"),
        (one(points=[[1, 2]], labels=[2]), "label 2; expected 1"),
        (one(points=[[1, 2]], labels=[0]), "only background"),
        (one(labels=[1], box=[1, 1, 2, 2]), "1 labels for 0 points"),
        (one(), "nothing given"),
        (one(box=[1, 1, 2, 2], **{"class": 1.5}), "class is 1.5; expected a name or an id"),
        (one(box=[1, 1, 2, 2], score="high"), 'score is ["high"]; expected 1 number'),
        (one(mask_input=3), "mask_input is 3"),
        (one(image="a.jpg", box=[1, 1, 2, 2]), "'image' inside the list of 'a.jpg'"),
        ({"images": {"a.jpg": {"box": [1, 1, 2, 2]}}}, "what is said of 'a.jpg' is not a list"),
        ({"images": {"a.jpg": None}}, "is not a list"),
        ({"images": {"a.jpg": [[1, 1, 2, 2]]}}, "expected an object such as"),
        ({"image": {}}, "unknown 'image'. Did you mean 'images'"),
        ({"a.jpg": [{"box": [1, 1, 2, 2]}]}, "unknown 'a.jpg'"),
        ({"images": 3}, "expected {"),
        ("3", "expected {"),
        ([{"box": [1, 1, 2, 2]}], "no image given"),
        ([3], "no image given"),
        ({"names": {}, "images": {}}, "names has"),
        ({"names": {"a": "cat"}, "images": {}}, "expected a class id and its name"),
        ({"names": {"0": "cat", "1": "cat"}, "images": {}}, "'cat' twice"),
        ({"names": "cat", "images": {}}, "names has"),
    ],
)
def test_json__that_is_wrong_is_refused(tmp_path, content, reason) -> None:
    assert reason in refused(tmp_path, "a.json", content)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"images": {\n"a.jpg": [\n{"box": [1, 2, 3, 4]}\n{"box": [1, 2, 3, 4]}]}}', 4),
        ('{"images": {\n"a.jpg": [],\n"a.jpg": []}}', 3),
        ('{"images": {\n"a.jpg": []}\n', 3),
        ('{"images": {\n\n}} extra', 3),
        ("", 1),
        ('{"images"\n: {3: 4}}', 2),
        ("[\n" + "[" * 100_000, 2),
    ],
)
def test_json__broken_text_is_refused_with_its_line(tmp_path, text, line) -> None:
    message = refused(tmp_path, "a.json", text)
    assert f"a.json:{line}: not JSON" in message


def test_json__wrong_item_is_named_by_its_own_line(tmp_path) -> None:
    content = {"images": {"a.jpg": [{"box": [1, 1, 9, 9]}], "b.jpg": [{"box": [1, 1, 9, 9]}, {"box": [1, 1]}]}}
    text = json.dumps(content, indent=1)
    at = text.count("\n", 0, text.rindex('{\n    "box"')) + 1
    assert f"a.json:{at}: box is [1, 1]" in refused(tmp_path, "a.json", text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"image": "a.jpg", "points": [[1, 1]]}\n{"image": "a.jpg"\n', "a.jsonl:2: not JSON"),
        ('{"image": "a.jpg", "points": [[1, 1]]}\n{"image": 3}\n', "a.jsonl:2: no image given"),
        ('{"image": "a.jpg"}\n', "a.jsonl:1: nothing given"),
        ('\n{"names": ["cat"]}\n', "a.jsonl:2: no image given"),
        ('{"images": {"a.jpg": []}}', "a.jsonl:1: no image given"),
    ],
)
def test_jsonl__that_is_wrong_is_refused_with_its_line(tmp_path, text, reason) -> None:
    assert reason in refused(tmp_path, "a.jsonl", text)


def test_text__that_is_not_utf8_is_refused(tmp_path) -> None:
    for name in ("a.json", "a.jsonl", "a.csv"):
        (tmp_path / name).write_bytes(b'{"images": {"gr\xf6\xdfe.jpg": []}}')
        with pytest.raises(UsageError, match="not UTF-8"):
            open_prompts(tmp_path / name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(JSON, st.sampled_from([None, 1]))
def test_walk__finds_what_json_loads_finds(document, indent) -> None:
    rebuilt: Any = None
    for place, line, value in walk(Path("a"), pieces=[json.dumps(document, indent=indent).encode()]):
        assert line >= 1
        if not place:
            rebuilt = value
            continue
        if rebuilt is None:
            rebuilt = [] if isinstance(document, list) else {}
        inner = rebuilt
        for name in place[:-1]:
            inner = inner.setdefault(name, [] if isinstance(_at(document, place, name), list) else {})
        if isinstance(inner, list):
            inner.append(value)
        else:
            inner[place[-1]] = value
    assert rebuilt == document


def _at(document: Any, place: tuple[str | int, ...], name: str | int) -> Any:
    for step in place[: place.index(name) + 1]:
        document = document[step]
    return document


# Classes


def classes(source: PromptSource, key: str = "a.jpg") -> list[str]:
    return [source.names[prompt.class_id] for prompt in source.for_image(key, SIZE)]


def with_classes(*names: Any, declared: Any = None) -> dict[str, Any]:
    objects = [{"box": [1, 1, 9, 9]} | ({} if name is None else {"class": name}) for name in names]
    return {"images": {"a.jpg": objects}} | ({"names": declared} if declared else {})


def test_names__declared_ones_are_taken_by_name_or_id_wherever_they_stand(tmp_path) -> None:
    for declared in ({"0": "cat", "1": "dog", "3": "3"}, {"3": "3", "1": "dog", "0": "cat"}):
        source = opened(tmp_path, "a.json", with_classes("dog", 0, None, "3", declared=declared))
        assert classes(source) == ["dog", "cat", "cat", "3"]
        assert source.names == {0: "cat", 1: "dog", 2: "class2", 3: "3"}
        assert source.recipe() == {"prompts": "json", "names": ["cat", "dog", "class2", "3"]}
    source = opened(tmp_path, "a.json", with_classes(1, declared=["cat", "dog"]))
    assert classes(source) == ["dog"]
    source = opened(
        tmp_path, "a.jsonl", '{"names": ["cat", "dog"]}\n{"image": "a.jpg", "points": [[1, 1]], "class": "dog"}'
    )
    assert classes(source) == ["dog"]


def test_names__without_a_declaration_come_in_order_and_numbers_stay_numbers(tmp_path) -> None:
    source = opened(tmp_path, "a.json", with_classes("dog", "cat", "dog"))
    assert source.names == {0: "dog", 1: "cat"}
    assert classes(source) == ["dog", "cat", "dog"]
    source = opened(tmp_path, "a.json", with_classes(2, None, 0))
    assert source.names == {0: "class0", 1: "class1", 2: "class2"}
    assert [p.class_id for p in source.for_image("a.jpg", SIZE)] == [2, 0, 0]
    assert source.recipe()["names"] is None
    assert opened(tmp_path, "a.json", with_classes(None, None)).names == {0: "object"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            with_classes("kat", declared=["cat", "dog"]),
            "unknown class 'kat'. Did you mean 'cat'? names has: cat, dog",
        ),
        (with_classes(5, declared=["cat", "dog"]), "class 5 is not in names; it has 0, 1"),
        (with_classes(None, declared={"1": "cat"}), "no class given, and class 0 is not in names"),
        (with_classes("cat", 0), "class 0, but line 1 has class 'cat'"),
        (with_classes("cat", None), "no class, but line 1 has class 'cat'"),
        (with_classes(-1), "class -1; expected"),
    ],
)
def test_names__a_class_that_is_not_clear_is_refused(tmp_path, content, reason) -> None:
    assert reason in refused(tmp_path, "a.json", content)


# Images of the run


def test_matched__an_unknown_image_is_refused_with_the_nearest(tmp_path) -> None:
    source = opened(tmp_path, "a.json", {"images": {"a/1.jpg": [], "a/3.jpg": [], "b/2.jpeg": [], "c.jpg": []}})
    with pytest.raises(
        UsageError, match=r"3 images that are not in the input: 'a/3.jpg', 'b/2.jpeg', 'c.jpg'.*'a/3"
    ):
        source.matched(["a/1.jpg", "a/2.jpg", "a/3.png", "b/2.jpg"])
    source = opened(tmp_path, "a.json", {"images": {"photos/a/1.jpg": []}})
    with pytest.raises(
        UsageError, match=r"an image that is not in the input: 'photos/a/1.jpg'. Did you mean 'a/1.jpg'"
    ):
        source.matched(["a/1.jpg", "b/x.jpg"])


def test_digest__changes_with_what_is_said_of_the_image_and_with_nothing_else(tmp_path) -> None:
    def digest(text: str) -> str:
        return opened(tmp_path, "a.csv", text).digest("a.jpg")

    first = digest("image,x,y,score\na.jpg,1,1,\n")
    assert first == digest("x,y,image\n1,1,b.jpg\n\n1.0,1,a.jpg\n")
    others = [
        "image,x,y\na.jpg,1,2\n",
        "image,x,y\na.jpg,1,1\na.jpg,1,1\n",
        "image,x,y,class\na.jpg,1,1,1\n",
        "image,x,y,score\na.jpg,1,1,.5\n",
        "image,x,y,x1,y1,x2,y2\na.jpg,1,1,0,0,5,5\n",
        "image,x,y,mask_input\na.jpg,1,1,m.npy\n",
    ]
    found = {digest(text) for text in others}
    (tmp_path / "m.npy").write_bytes(b"something")
    found.add(digest(others[-1]))
    assert len(found | {first}) == len(others) + 2


def test_for_image__errors_are_of_that_image_and_name_the_line(tmp_path) -> None:
    source = opened(tmp_path, "a.csv", "image,x1,y1,x2,y2\na.jpg,1,1,5,5\nb.jpg,.1,.1,.5,.5\nc.jpg,1200,1,1300,5\n")
    assert len(source.for_image("a.jpg", SIZE)) == 1
    with pytest.raises(ImageError, match=r"a.csv:3: box .* looks normalised; expected pixels"):
        source.for_image("b.jpg", SIZE)
    with pytest.raises(ImageError, match=r"a.csv:4: box .* outside the image of 1000 x 1000"):
        source.for_image("c.jpg", SIZE)


# Any content gives objects or one clear error

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.floats(),
        st.integers(-3, 2000),
        st.sampled_from([10**400, -(2**70), 1e300, "1", "nan", "a.jpg", "cat"]),
        st.text(max_size=4),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)
NUMBERS = st.one_of(st.integers(0, 900), st.floats(), VALUES)
OBJECTS = st.one_of(
    VALUES,
    st.fixed_dictionaries(
        {},
        optional={
            "image": st.one_of(st.just("a.jpg"), VALUES),
            "box": st.one_of(st.just([1, 2, 30, 40]), st.lists(NUMBERS, max_size=5), VALUES),
            "points": st.one_of(st.lists(st.lists(NUMBERS, max_size=3), max_size=3), VALUES),
            "labels": st.one_of(st.lists(st.integers(0, 2), max_size=3), VALUES),
            "class": st.one_of(st.sampled_from(["cat", 0, 2.0]), VALUES),
            "score": NUMBERS,
            "mask_input": VALUES,
        },
    ),
)
NAMES = st.one_of(st.just(["cat", "dog"]), st.dictionaries(st.sampled_from(["0", "1", "x"]), VALUES), VALUES)
DOCUMENTS = st.one_of(
    st.lists(OBJECTS, max_size=4),
    st.fixed_dictionaries(
        {},
        optional={
            "names": NAMES,
            "images": st.one_of(st.dictionaries(st.sampled_from(["a.jpg", ""]), st.lists(OBJECTS)), VALUES),
        },
    ),
)
CELLS = st.one_of(st.sampled_from(["", "a.jpg", "1", "2.0", "-5", "nan", "1e400", "cat"]), st.text(max_size=4))
COLUMNS = st.sampled_from(
    ["image,x1,y1,x2,y2,class", "image,x,y,label,object,score", "image,mask_input", "image,x1"]
)
PYTHON_TEXT = re.compile(r"NoneType|has no len|Traceback|object is not|unhashable|unpack|indices must|<class")


def check_any(name: str, content: str) -> None:
    """The objects of a prompts file can be asked for, or one error of a line or two names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(content, encoding="utf-8", errors="replace")
        try:
            for one in open_prompts(path).matched(["a.jpg"]).for_image("a.jpg", SIZE):
                assert one.box is not None or one.points or one.mask_input is not None
        except (UsageError, ImageError) as error:
            assert name in str(error)
            assert len(str(error)) < 700
            assert not PYTHON_TEXT.search(str(error)), str(error)


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS)
def test_json__of_any_content_gives_objects_or_one_clear_error(document) -> None:
    check_any("a.json", json.dumps(document))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(OBJECTS, st.fixed_dictionaries({"names": NAMES})), max_size=4))
def test_jsonl__of_any_content_gives_objects_or_one_clear_error(lines) -> None:
    check_any("a.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


@settings(max_examples=60, deadline=None)
@given(COLUMNS, st.lists(st.lists(CELLS, min_size=2, max_size=6), max_size=4))
def test_csv__of_any_content_gives_objects_or_one_clear_error(columns, rows) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([row[: columns.count(",") + 1] for row in rows])
    check_any("a.csv", f"{columns}\n{text.getvalue()}")


def test_class_ids__may_be_numbers_and_text_mixed(tmp_path) -> None:
    rows = [{"image": "a.jpg", "box": [1, 1, 9, 9], "class": said} for said in (2.0, "2", 2, "0")]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.csv").write_text(
        "image,x1,y1,x2,y2,class\n" + "".join(f"a.jpg,1,1,9,9,{said}\n" for said in ("2.0", "2e0", "02", "0"))
    )
    for name in ("a.jsonl", "a.csv"):
        source = open_prompts(tmp_path / name).matched(["a.jpg"])
        assert [one.class_id for one in source.for_image("a.jpg", (10, 10))] == [2, 2, 2, 0]
    (tmp_path / "b.csv").write_text("image,x1,y1,x2,y2,class\na.jpg,1,1,9,9,2.5\n")
    with pytest.raises(UsageError, match=r"b.csv:2: class 2.5; expected a name or a whole number"):
        open_prompts(tmp_path / "b.csv")
