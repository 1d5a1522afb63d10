"""Elements are added to an XML file, and what was there keeps its bytes."""

from __future__ import annotations

import pytest

from samcli.labels.xml_files import with_children


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<a><segmented/></a>", "<a><segmented/>\n  <o/></a>"),
        ("<a><b></b></a>", "<a><b></b>\n  <o/></a>"),
        ("<a><b>1</b><c x='>'/>\n</a>\n", "<a><b>1</b><c x='>'/>\n  <o/>\n</a>\n"),
        ("<a></a>", "<a>\n  <o/></a>"),
        ("<a>/></a>", "<a>/>\n  <o/></a>"),
    ],
)
def test_with_children__come_behind_the_last_child(text: str, wanted: str) -> None:
    assert with_children(text.encode(), "o", [b"<o/>"], [])[0].decode() == wanted


def test_with_children__leave_and_stay() -> None:
    data, left = with_children(b"<a>\n<o/>\n<o>2</o>\n<p/></a>", "o", [b"<o>3</o>"], [1])
    assert data == b"<a>\n<o>2</o>\n<p/>\n  <o>3</o></a>"
    assert left == [2]


def test_with_children__of_an_empty_root_are_refused() -> None:
    with pytest.raises(ValueError, match="its root element is empty"):
        with_children(b"<a/>", "o", [b"<o/>"], [])
