"""Open labels of any format that can be read, by its name or by what lies there."""

from __future__ import annotations

from pathlib import Path

from samcli.errors import UsageError, nearest
from samcli.labels.formats import FORMATS
from samcli.labels.formats.sources import LabelSet, Source


def _sources() -> list[str]:
    """What `--from` takes."""
    return ["records", *readable_formats()]


def readable_formats() -> list[str]:
    """Names of the formats that can be read."""
    return [name for name, fmt in FORMATS.items() if fmt.is_read]


def detect_format(path: Path) -> str:
    """The format of a file or folder of labels, from its names and the beginning of one of its files.

    Raises:
        UsageError: it is none that can be read, or could be several.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist; expected a run's output folder, or labels")
    found = [name for name in readable_formats() if FORMATS[name].finds(path)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"no labels found in {path}; say what they are with --from {'|'.join(_sources())}")
    raise UsageError(f"{path} could be {' or '.join(found)}; say which with --from")


def read_labels(name: str, source: Source) -> LabelSet:
    """The labels of a source in the format of that name.

    Raises:
        UsageError: they cannot be read at all, or the format has no reader.
    """
    if name not in readable_formats():
        raise UsageError(
            f"--from is '{name}'; expected one of {', '.join(_sources())}.{nearest(name, readable_formats())}"
        )
    if not source.path.exists():
        raise UsageError(f"{source.path} does not exist; expected labels of the format {name}")
    return FORMATS[name].read(source)
