"""Items are added to lists of a JSON file, and what was there keeps its bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samcli.labels.json_splice import find_lists, spliced

ITEMS = st.lists(
    st.dictionaries(st.text(max_size=4), st.one_of(st.none(), st.text(max_size=5), st.lists(st.integers()))),
    max_size=5,
)
LAYOUTS = st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])


def splice(data: bytes, new: dict[str, list[Any]], gone: dict[str, list[int]]) -> bytes:
    added = {name: [json.dumps(item).encode() for item in items] for name, items in new.items()}
    return b"".join(spliced(data, find_lists(data), added, gone))


@given(first=ITEMS, second=ITEMS, new=ITEMS, layout=LAYOUTS, gone=st.sets(st.integers(0, 4)))
def test_spliced__gives_the_lists_without_what_is_gone_and_with_what_is_new(
    first, second, new, layout, gone
) -> None:
    content = {"info": {"annotations": [1, "["]}, "annotations": first, "x]": 'a"]', "images": second}
    data = json.dumps(content, **layout).encode("utf-8", "surrogatepass")
    found = json.loads(splice(data, {"annotations": new, "fresh": new}, {"annotations": sorted(gone)}))
    left = [item for number, item in enumerate(first) if number not in gone]
    assert found == {**content, "annotations": left + new, "fresh": new}
    listed = json.dumps(first, **layout).encode("utf-8", "surrogatepass")
    assert json.loads(splice(listed, {"": new}, {})) == first + new


def test_spliced__keeps_every_byte_that_is_there() -> None:
    data = b'{ "images" : [ {"id":1 , "n": 1.50} ],\r\n\t"annotations":[  ], "z": 1e3 }\n\n'
    found = splice(data, {"images": [{"id": 2}], "annotations": [{"id": 3}]}, {})
    assert found == (
        b'{ "images" : [ {"id":1 , "n": 1.50},\n{"id": 2} ],\r\n\t"annotations":[\n{"id": 3}  ], "z": 1e3 }\n\n'
    )
    assert splice(data, {}, {}) == data


@pytest.mark.parametrize("data", [b"", b"1", b'"text"', b"[1"])
def test_find_lists__refuses_what_is_no_object_or_list(data) -> None:
    with pytest.raises(ValueError, match="no JSON"):
        find_lists(data)


@pytest.mark.parametrize(
    "text", ['{"id": 5, "data": {"image": "x.jpg"}}', '{"id": 1, "result": null}', "{}", '{"a": []}']
)
def test_spliced__adds_lists_to_objects_with_and_without_members(text: str) -> None:
    found = json.loads(splice(text.encode(), {"fresh": [{"n": 1}], "more": [{}]}, {}))
    assert found == {**json.loads(text), "fresh": [{"n": 1}], "more": [{}]}


def test_find_lists__refuses_text_that_is_no_utf_8() -> None:
    with pytest.raises(ValueError, match="expected UTF-8"):
        find_lists('{"shapes": []}'.encode("utf-16"))
