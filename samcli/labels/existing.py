"""Labels that were in an output folder before the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from samcli.labels.formats import FORMATS
from samcli.labels.formats.sources import Source
from samcli.output.layout import Layout


def existing_names(layout: Layout, formats: Sequence[str]) -> dict[int, str]:
    """Return the names of the classes of labels in one of these formats, by number; none where none are named.

    Raises:
        UsageError: the labels, or the file of their names, cannot be read.
    """
    for name in formats:
        fmt = FORMATS[name]
        if fmt.is_read and fmt.finds(layout.output):
            labels = fmt.read(Source(layout.output, sizes_elsewhere=True, remarks=Counter()))
            if labels.declared:
                return dict(labels.names)
    return {}
