"""Write to a terminal safely: escape text from outside, and never let progress output stop the work.

While a command runs, `sys.stdout` and `sys.stderr` escape what could steer a terminal, whatever part of samcli
prints. What styles its own output (Rich's tables, progress bars) writes past them, its text escaped before.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_KEPT = "\n\t"


def printable(text: str, keep: str = "") -> str:
    """Return text with every character escaped that is not printable: controls, escapes, directions, half pairs.

    `keep`: characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


class _Stream:
    """A text stream that escapes what it is given. `patient`: drops what cannot be written, without an error."""

    def __init__(self, stream: TextIO | None, *, patient: bool, escape: bool = True) -> None:
        self._stream = stream
        self._patient = patient
        self._escape = escape
        self.unescaped: _Stream = _Stream(stream, patient=patient, escape=False) if escape else self
        """The same stream for text that is escaped already, between styles."""

    def write(self, text: str) -> int:
        """Write text, escaped."""
        with self._failures():
            if self._stream is not None:
                self._stream.write(printable(text, _KEPT) if self._escape else text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines, escaped."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush what was written."""
        with self._failures():
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        """Return whether a terminal shows it."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:  # closed
            return False

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # its reader is gone, the disk is full, it is closed
            if not self._patient:
                raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def shown_safely() -> Iterator[None]:
    """Escape what is printed, and carry on where standard error cannot be written."""
    before = sys.stdout, sys.stderr
    sys.stdout = _Stream(before[0], patient=before[0] is None)
    sys.stderr = _Stream(before[1], patient=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def styled(stream: TextIO) -> TextIO:
    """Return the stream for what styles its own output and escapes the text in it."""
    return stream.unescaped if isinstance(stream, _Stream) else stream  # type: ignore[return-value]


def open_console(*, stderr: bool = False, **options: Any) -> Console:
    """Return a Rich console on standard output or error that escapes the text which it styles."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class _Console(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for text, style, control in super().render(renderable, options):
                yield Segment(text if control else printable(text, _KEPT), style, control)

    return _Console(file=styled(sys.stderr if stderr else sys.stdout), **options)


def open_standard_streams() -> None:
    """Open standard descriptors that are closed on the null device, and let output be of any encoding.

    Else the next file that is opened gets the number 2, and messages of libraries are written into it. Characters
    that a console without UTF-8 cannot show are written as escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
