"""XML as label tools write it, parsed without entities: these can fill the memory or read other files."""

from __future__ import annotations

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
