"""Show what became of conversions, previews and reviews."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from samcli.cli.report.text import SHOWN_FAILURES, by_author, counted, print_next, print_rows, printable
from samcli.labels.convert import Conversion
from samcli.output.authors import author_counts
from samcli.types import Author

if TYPE_CHECKING:
    from samcli.jobs.removing import TakenBack
    from samcli.review.apply import AppliedReview


def print_conversion(conversion: Conversion, *, as_json: bool) -> None:
    """Print what was converted, what a format could not store, and what failed."""
    if as_json:
        print(json.dumps({**asdict(conversion), "output": str(conversion.output)}))
        return
    to = " and ".join(conversion.formats)
    count = conversion.rows
    rows = f" in {counted(count, 'row')}" if count and count != conversion.instances else ""
    what = f"{counted(conversion.images, 'image')}, {counted(conversion.instances, 'object')}{rows}"
    print(f"{what}: {conversion.source_format} -> {to}")
    if conversion.unseen:
        print("no image folder found: names and sizes were not checked (give --images)")
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
    done = f"would write {counted(conversion.files, 'file')} to" if conversion.dry_run else "written to"
    print(printable(f"{done} {conversion.output}"))
    if conversion.dry_run and conversion.files:
        print("Convert: the same command without --dry-run", file=sys.stderr)
    if conversion.dry_run or not conversion.files:
        return
    if set(conversion.formats) & {"yolo", "yolo-box"}:
        print_next("Check them", "samcli", "verify", conversion.output)
    else:
        print_next("Compare with others", "samcli", "eval", conversion.output, "--truth", "TRUTH")


def print_preview(path: Path, labels: Path, authors: Mapping[Author, int] | None, *, as_json: bool) -> None:
    """Print the path of the sheet or the page, and what to do next.

    `authors`: of all objects of the run; None: the labels are not those of a run.
    """
    if as_json:
        print(
            json.dumps(
                {"file": str(path), **({} if authors is None else {"instances_by_author": author_counts(authors)})}
            )
        )
        return
    print(path)
    if authors is None:
        print_next("Convert to another format", "samcli", "convert", labels, "--to", "FORMAT")
        return
    if counts := by_author(authors):
        print(f"Objects of the run by author: {counts}", file=sys.stderr)
    if path.suffix.lower() == ".png":
        print_next("Review each mask in a browser", "samcli", "preview", labels, "--html")
    else:
        print(f"Open it in a browser: {path.absolute().as_uri()}", file=sys.stderr)
        print_next("Then apply the review that you download", "samcli", "apply-review", labels, "REVIEW.json")


def print_review(applied: AppliedReview, labels: Path, *, as_json: bool) -> None:
    """Print what a review has changed. `labels`: the folder of the run."""
    if as_json:
        print(json.dumps(asdict(applied)))
        return
    print_rows(
        {
            "rejected": f"{counted(applied.rejected, 'object')} removed, {applied.bad_masks:,} for a bad mask",
            "restored": counted(applied.restored, "object"),
            "accepted": f"{counted(applied.accepted, 'object')}, unchanged",
            "images changed": f"{applied.images:,}",
            "incomplete": f"{counted(applied.incomplete, 'more image')}; their labels are kept aside",
            "excluded": f"{counted(applied.excluded, 'more image')}; their labels are kept aside",
            "complete again": f"{counted(applied.complete, 'image')}; their labels are back",
            **(
                {"written again": f"{counted(applied.remade, 'more image')}, with polygons of an earlier version"}
                if applied.remade
                else {}
            ),
        }
    )
    print_next("Check the labels", "samcli", "verify", labels)


def print_taken_back(taken: TakenBack, *, as_json: bool) -> None:
    """Print what was removed."""
    if as_json:
        print(json.dumps(asdict(taken)))
        return
    rows = {"removed": f"the labels of {counted(taken.images, 'image')}"}
    rows["restored"] = counted(taken.restored, "file")
    if taken.changed:
        rows["changed since"] = (
            f"{counted(len(taken.changed), 'file')}, left as they are: {printable(taken.changed[0])}"
        )
    print_rows(rows)


def print_served(address: str, *, reached: bool, browser: bool) -> None:
    """Print where the page is served; open it in the browser if asked for."""
    if reached:
        print("Whoever on the network has this address can see the images and change the labels.")
    print(f"{address}\nCtrl+C ends the review.", flush=True)
    if browser:
        import webbrowser

        webbrowser.open(address)
