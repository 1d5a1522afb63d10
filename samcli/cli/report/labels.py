"""Show what became of conversions, previews and reviews."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from samcli.cli.report.text import SHOWN_FAILURES, print_rows, printable
from samcli.labels.convert import Conversion

if TYPE_CHECKING:
    from samcli.jobs.removing import TakenBack
    from samcli.review.apply import AppliedReview


def print_conversion(conversion: Conversion, *, as_json: bool) -> None:
    """What was converted, what a format could not hold, and what failed."""
    if as_json:
        print(json.dumps({**asdict(conversion), "output": str(conversion.output)}))
        return
    to = " and ".join(conversion.formats)
    differ = conversion.rows and conversion.rows != conversion.instances
    rows = f" in {conversion.rows} rows" if differ else ""
    print(f"{conversion.images} images, {conversion.instances} objects{rows}: {conversion.source_format} -> {to}")
    if conversion.unseen:
        print("no folder of images is known: names and sizes are as the labels state them (--images checks them)")
    for note in conversion.notes:
        print(printable(note))
    for key, reason in list(conversion.failures.items())[:SHOWN_FAILURES]:
        print(f"failed {printable(key)}: {printable(reason)}")
    if (more := len(conversion.failures) - SHOWN_FAILURES) > 0:
        print(f"... and {more} more failed (--json lists all)")
    for key, reason in list(conversion.left_out.items())[:SHOWN_FAILURES]:
        print(f"left out {printable(key)}: {printable(reason)}")
    if (more := len(conversion.left_out) - SHOWN_FAILURES) > 0:
        print(f"... and {more} more left out (--json lists all)")
    done = f"would write {conversion.files} files to" if conversion.dry_run else "written to"
    print(printable(f"{done} {conversion.output}"))


def print_preview(path: Path, *, as_json: bool) -> None:
    """Where the sheet or the page lies."""
    print(json.dumps({"file": str(path)}) if as_json else path)


def print_review(applied: AppliedReview, *, as_json: bool) -> None:
    """What a review has changed."""
    if as_json:
        print(json.dumps(asdict(applied)))
        return
    print_rows(
        {
            "rejected": f"{applied.rejected} taken out of the labels, {applied.bad_masks} of them bad masks",
            "restored": f"{applied.restored} put back",
            "accepted": f"{applied.accepted} stay as they were",
            "images changed": f"{applied.images}",
            "incomplete": f"{applied.incomplete} images more, whose labels are kept aside",
            "excluded": f"{applied.excluded} images more, whose labels are kept aside",
            "complete again": f"{applied.complete} images, whose labels are back",
            **(
                {"written again": f"{applied.remade} images more, whose polygons an earlier version wrote"}
                if applied.remade
                else {}
            ),
        }
    )


def print_taken_back(taken: TakenBack, *, as_json: bool) -> None:
    """What was removed."""
    if as_json:
        print(json.dumps(asdict(taken)))
        return
    print_rows({"removed": f"the labels of {taken.images} images", "as before": f"{taken.restored} files"})
