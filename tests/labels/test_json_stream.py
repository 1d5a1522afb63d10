"""JSON read item by item: what the document holds, with lines, whatever strangers put into it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samcli.errors import UsageError
from samcli.labels.json_stream import DEEPEST, Shelf, beginning, walk

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def items(text: str | bytes) -> list[tuple[object, object]]:
    data = text.encode() if isinstance(text, str) else text
    return [(place, value) for place, _, value in walk(Path("x.json"), levels=1, pieces=[data])]


@given(st.lists(VALUES, max_size=4), st.booleans())
@settings(max_examples=60)
def test_items__are_those_of_the_document(document, ascii: bool) -> None:
    found = items(json.dumps(document, ensure_ascii=ascii, allow_nan=False))
    expected = [((index,), value) for index, value in enumerate(document)] or [((), [])]
    assert json.dumps(found) == json.dumps(expected)


def test_numbers__that_are_none_become_text_and_cost_no_more(tmp_path: Path) -> None:
    text = '{"a": [NaN, -Infinity, 1e400, ' + "9" * 5000 + ', 1.5e3, "NaN"]}'
    values = [value for _, value in items(text)]
    assert values == ["NaN", "-Infinity", "1e400", "9" * 5000, 1500.0, "NaN"]


def test_names_that_are_no_utf8__come_back_as_python_has_them() -> None:
    name = "caf\udce9\U0001f600.png"
    assert items(json.dumps([name])) == [((0,), name)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1: not JSON: it is empty"),
        ("[\n1,\n", "3: not JSON: it ends too early"),
        ("[\n1,]", "2: not JSON"),
        ("[1] x", "1: not JSON: trailing garbage"),
        ('{"a": 1,\n"a": 2}', "2: not JSON: 'a' is there twice"),
        ('[{"a": 1, "a": 2}]', "1: not JSON: 'a' is there twice"),
        ("[" * 100_000, f"nested more than {DEEPEST} deep"),
        ('{"a":' * 100_000, f"nested more than {DEEPEST} deep"),
        (b'["\xff"]', "it is not UTF-8"),
    ],
)
def test_text__that_is_no_json_is_one_clear_line(text, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        items(text)
    assert problem in str(caught.value) and "\n" not in str(caught.value)


def test_items__come_before_the_file_is_read_to_its_end() -> None:
    found = walk(Path("x.json"), pieces=[b'{"a": [1, 2,', b" oh no"])
    assert [next(found)[2], next(found)[2]] == [1, 2]


def test_beginning__of_a_damaged_file_is_what_comes_before_the_fault(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"image": {"id": 1}, "annotations": [{"a": 1}, oh no')
    assert [(item.name, item.value) for item in beginning(tmp_path / "x.json")] == [
        ("image", {"id": 1}),
        ("annotations", {"a": 1}),
    ]


def test_shelf__may_be_sent_to_another_process() -> None:
    shelf = Shelf()
    places = [shelf.put(value) for value in ({"a": 1}, [2])]
    other = pickle.loads(pickle.dumps(shelf))
    assert [other.take(place) for place in places] == [{"a": 1}, [2]]
    assert other.take(other.put("new")) == "new"


def test_shelf__gives_back_what_was_put_there_in_any_order() -> None:
    shelf = Shelf()
    places = [shelf.put({"n": n, "x": [0.1] * n}) for n in range(50)]
    assert [shelf.take(place)["n"] for place in reversed(places)] == list(range(49, -1, -1))
