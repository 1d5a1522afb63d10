"""Plots as files: which names can be written, and the same bytes for the same figures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samcli.errors import UsageError
from samcli.files import check_writable, write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SUFFIXES = (".png", ".svg", ".pdf")


def check_plot(target: Path, flag: str = "--plot") -> None:
    """Refuse a file name of which no plot can be made, before the work is done. `flag`: the option that gave it.

    Raises:
        UsageError: it ends in something else.
        WriteError: it cannot be written there.
    """
    if target.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{flag} {target}: expected a name that ends in {', '.join(_SUFFIXES)}")
    check_writable(target)


def check_sheet(target: Path, flag: str, remedy: str = "") -> None:
    """Refuse a file name for a sheet of pictures that is no PNG's, before the work is done.

    `flag`: the option that gave it. `remedy`: what else the user may have meant.

    Raises:
        UsageError: it ends in something else.
        WriteError: it cannot be written there.
    """
    if target.suffix.lower() != ".png":
        raise UsageError(f"{flag} {target}: expected a name that ends in .png{remedy}")
    check_writable(target)


def save_figure(figure: Figure, target: Path) -> None:
    """Write a figure as PNG, SVG or PDF, whichever the name says."""
    kind = target.suffix.lower()
    buffer = io.BytesIO()
    # Without a date the same figures give the same file.
    metadata: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(kind, {})
    figure.savefig(buffer, format=kind[1:], metadata=metadata)
    write_atomic(target, buffer.getvalue())
