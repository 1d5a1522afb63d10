"""Large JSON files, item by item."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samcli.errors import UsageError
from samcli.labels.formats import json_items
from samcli.labels.formats.json_items import JsonFile, beginning

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def items(path: Path) -> list[tuple[str, object]]:
    file = JsonFile(path)
    return [(item.name, file.value(item)) for item in file.items()]


@given(
    st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4) | st.lists(VALUES, max_size=4),
    st.booleans(),
    st.integers(1, 40),
)
@settings(max_examples=150)
def test_items__are_those_of_the_document_whatever_the_window(document, ascii: bool, window: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.json"
        path.write_text(json.dumps(document, ensure_ascii=ascii, indent=window % 2 or None), encoding="utf-8")
        before, json_items._WINDOW = json_items._WINDOW, window
        try:
            found = items(path)
        finally:
            json_items._WINDOW = before
    if isinstance(document, list):
        assert found == [("", value) for value in document]
    else:
        wanted = [
            (name, item)
            for name, value in document.items()
            for item in (value if isinstance(value, list) else [value])
        ]
        assert found == wanted


def test_items__come_before_the_file_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": [1, 2, oh no')
    found = JsonFile(tmp_path / "x.json").items()
    assert [next(found).rough, next(found).rough] == [1, 2]
    with pytest.raises(UsageError, match=r"x.json:1: not JSON"):
        next(found)


@pytest.mark.parametrize("text", ["", "{", "[1", "[1 2]", '{"a" 1}', '{"a": 1,}x', "nonsense", '{"a": [1,,2]}'])
def test_items__of_what_is_no_json_are_an_error_and_never_an_endless_loop(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError):
        items(tmp_path / "x.json")
    assert len(beginning(tmp_path / "x.json")) <= 1


def test_items__take_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1]", encoding="utf-8-sig")
    assert items(tmp_path / "x.json") == [("", 1)]
