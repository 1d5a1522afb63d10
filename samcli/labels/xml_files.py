"""XML as label tools write it, parsed without entities: these can fill the memory or read other files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samcli.errors import one_line

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def read_xml(file: Path | str) -> Element:
    """Return the root element of an XML file.

    Raises:
        ValueError: it cannot be read, is no XML, or declares entities.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse

    try:
        root = parse(file).getroot()
    except OSError as error:
        raise ValueError(error.strerror or one_line(error)) from error
    except DefusedXmlException as error:
        raise ValueError("it declares entities, which are not read") from error
    except (ParseError, ValueError, LookupError) as error:
        raise ValueError(f"not XML: {one_line(error)}") from error
    if root is None:
        raise ValueError("it is empty")
    return root


def text_of(element: Element, path: str) -> str | None:
    """Return the text of an element below another, without space around it; None where there is none."""
    return (element.findtext(path) or "").strip() or None


def with_children(data: bytes, tag: str, new: Sequence[bytes], gone: Collection[int]) -> tuple[bytes, list[int]]:
    """Return an XML text with elements added to its root, and no byte of what stays changed.

    `new`: elements in ASCII, which come behind the last child. `gone`: numbers, from 1, of the children of that tag
    which leave it. Returned as well: the numbers of those that stay.

    Raises:
        ValueError: it is no XML, or in an encoding that ASCII is no part of.
    """
    if b"\0" in data:
        raise ValueError("its XML is in UTF-16; expected UTF-8")
    children, end = _children(data)
    own = [number for number, (name, _, _) in enumerate(children) if name == tag]
    leaving = {own[number - 1] for number in gone}
    at, parts = 0, []
    for number, (_, begin, behind) in enumerate(children):
        if number in leaving:
            parts.append(data[at:begin].rstrip())
            at = behind
    last = children[-1][2] if children else end
    parts += [data[at:last], *(b"\n  " + one for one in new), data[last:]]
    return b"".join(parts), [number for number in range(1, len(own) + 1) if number not in gone]


def _children(data: bytes) -> tuple[list[tuple[str, int, int]], int]:
    """Return tag, begin and end of each child of the root, and where the root's end tag begins."""
    from xml.parsers import expat

    found: list[tuple[str, int, int]] = []
    depth, end, is_empty = 0, len(data), False
    parser = expat.ParserCreate()

    def start(name: str, attributes: object) -> None:
        nonlocal depth, is_empty
        is_empty = True
        if depth == 1:
            found.append((name, parser.CurrentByteIndex, -1))
        depth += 1

    def stop(name: str) -> None:
        nonlocal depth, end, is_empty
        at = parser.CurrentByteIndex
        closes_itself = is_empty and data[at - 2 : at] == b"/>"  # of <a/> the parser is behind the tag already
        is_empty = False
        depth -= 1
        if depth == 1:
            found[-1] = (*found[-1][:2], at if closes_itself else data.index(b">", at) + 1)
        elif not depth:
            if closes_itself:
                raise ValueError("its root element is empty")
            end = at

    def text(value: str) -> None:
        nonlocal is_empty
        is_empty = False

    parser.StartElementHandler, parser.EndElementHandler = start, stop
    parser.CharacterDataHandler = text
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"not XML: {one_line(error)}") from error
    return found, end
