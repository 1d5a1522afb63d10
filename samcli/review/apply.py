"""Reviews: a person's marks on a run's instances, and what becomes of its labels.

The page (`review_page`) exports marks as JSON; `apply_review` takes them. A rejected instance leaves the labels
and stays whole in the record, so a later review can restore it. Instances are numbered as the run labelled
them, whatever reviews have rejected since.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from samcli.errors import ImageError, RecordError, SamcliError, UsageError
from samcli.images import read_image
from samcli.labels.formats import FORMATS, LabelFormat, Rendering
from samcli.labels.formats.base import recorded_polygon_options
from samcli.labels.writing import folds, write_annotation
from samcli.output.journal import Entry, Journal
from samcli.output.layout import locked
from samcli.output.manifest import Product, Recipe
from samcli.output.run_folder import RunFolder
from samcli.types import Annotation, Dropped, ImageRef, Instance, Outcome, Quality, Status

REVIEW_FORMAT = "samcli-review"
REVIEW_VERSION = 1
REASON = "rejected in review"
_HASH_DIGITS = 16
_LARGEST = 1 << 28
"""Bytes of a review."""

DOUBT_FORMULA = "1 − predicted IoU × stability × box IoU"
"""What `doubt` computes, for people."""


def doubt(quality: Quality) -> float | None:
    """How much an instance wants a look, 0 to 1: `DOUBT_FORMULA`.

    Each figure is cut to 0..1 (SAM's prediction may lie outside); one that is absent is left out; None where
    all three are.
    """
    figures = [f for f in (quality.predicted_iou, quality.stability, quality.box_iou) if f is not None]
    if not figures:
        return None
    product = 1.0
    for figure in figures:
        product *= min(max(figure, 0.0), 1.0)
    return 1.0 - product


def instance_hash(instance: Instance) -> str:
    """Of class and mask, as hex digits: a mark is for this very mask and never for another one."""
    mask = instance.mask
    head = f"{instance.class_id} {mask.height} {mask.width} ".encode()
    return hashlib.sha256(head + mask.counts).hexdigest()[:_HASH_DIGITS]


def as_labelled(annotation: Annotation) -> list[tuple[Instance, bool]]:
    """The instances in the order in which the run labelled them, and whether a review has rejected each.

    Raises:
        ValueError: the rejected ones do not fit among the others.
    """
    rejected = {d.index: d.instance for d in annotation.dropped if d.instance is not None and d.index is not None}
    total = len(annotation.instances) + len(rejected)
    if not rejected.keys() <= set(range(total)):
        raise ValueError(f"the record is damaged: rejected instances {sorted(rejected)} among {total}")
    kept = iter(annotation.instances)
    return [(rejected[i], True) if i in rejected else (next(kept), False) for i in range(total)]


@dataclass(frozen=True)
class Mark:
    """A verdict on one instance: which, by its number and its hash, and whether it is accepted."""

    index: int
    hash: str
    accepted: bool


@dataclass(frozen=True)
class Review:
    """Marks by image key, and the fingerprint of the run that they are on."""

    fingerprint: str
    marks: Mapping[str, tuple[Mark, ...]]


def read_review(path: Path) -> Review:
    """A review as the page exports it.

    Raises:
        UsageError: it cannot be read, or is no review that this version knows.
    """

    def refuse(why: str) -> NoReturn:
        raise UsageError(f"{path} {why}; expected the JSON file that the review page downloads")

    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_LARGEST))
    except OSError as error:
        raise UsageError(f"cannot read the review {path}: {error.strerror}") from error
    except (ValueError, RecursionError):
        refuse("is not JSON")
    if not isinstance(content, dict) or content.get("format") != REVIEW_FORMAT:
        refuse("is no review")
    if content.get("version") != REVIEW_VERSION:
        refuse(f"is a review of version {content.get('version')!r}, not {REVIEW_VERSION}")
    if not isinstance(content.get("fingerprint"), str) or not isinstance(content.get("marks"), list):
        refuse("lacks its fingerprint or its marks")
    marks: dict[str, dict[int, Mark]] = defaultdict(dict)
    for number, row in enumerate(content["marks"]):
        if not _is_mark(row):
            refuse(f"has a mark (number {number}) without key, index, hash, and accept or reject")
        marks[row["key"]][row["index"]] = Mark(row["index"], row["hash"], row["mark"] == "accept")
    return Review(content["fingerprint"], {key: tuple(found.values()) for key, found in marks.items()})


def _is_mark(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("key"), str)
        and type(row.get("index")) is int
        and isinstance(row.get("hash"), str)
        and row.get("mark") in ("accept", "reject")
    )


@dataclass(frozen=True)
class AppliedReview:
    """What a review has changed. `accepted` counts marks on instances that were in the labels before."""

    images: int = 0
    rejected: int = 0
    restored: int = 0
    accepted: int = 0


def apply_review(output: Path, path: Path) -> AppliedReview:
    """Take the instances that a review rejects out of a run's labels, and put back those that it accepts.

    Marks, records and that the images are there are checked before anything is written. Records first, then
    labels, then the journal, then the files that hold all images; no network runs. Should it be interrupted,
    applying the same review again completes it, and so does the run's own command as far as these files go.

    Raises:
        UsageError: the review is of another run or of other masks, or a format cannot be made again.
        SamcliError: a run is at work in the folder, or it cannot be written, or a record cannot be read.
    """
    run = RunFolder.open(output, Product.LABELS)
    manifest, review = run.manifest, read_review(path)
    if review.fingerprint != manifest.fingerprint:
        raise UsageError(
            f"{path} reviews a run with other options ({review.fingerprint[:8]}, this one is {manifest.run[:8]}): "
            "give the folder that its page was made from"
        )
    with locked(run.layout, "Make it writable"):
        entries = run.entries()
        verdicts = [_judge(run, key, entries.get(key), review.marks[key]) for key in sorted(review.marks)]
        changed = [verdict for verdict in verdicts if verdict.touched]
        if changed or run.is_unfinished:
            _Publisher(run).publish(changed)
    return AppliedReview(
        images=sum(verdict.rejected + verdict.restored > 0 for verdict in verdicts),
        rejected=sum(verdict.rejected for verdict in verdicts),
        restored=sum(verdict.restored for verdict in verdicts),
        accepted=sum(verdict.accepted for verdict in verdicts),
    )


@dataclass(frozen=True)
class _Verdict:
    """One image's annotation as its marks make it, with what they change."""

    annotation: Annotation
    entry: Entry
    rejected: int
    restored: int
    accepted: int
    touched: bool
    """Its files are to be written."""


def _judge(run: RunFolder, key: str, entry: Entry | None, marks: Sequence[Mark]) -> _Verdict:
    if entry is None or not entry.done:
        raise UsageError(f"the review has marks on {key!r}, which this run has not labelled; make its page anew")
    try:
        annotation = run.record(key)
        found = as_labelled(annotation)
    except (RecordError, ValueError) as error:
        raise UsageError(f"{key!r}: {error}") from error
    for mark in marks:
        if not 0 <= mark.index < len(found) or instance_hash(found[mark.index][0]) != mark.hash:
            raise UsageError(
                f"instance {mark.index} of {key!r} is not the one that was reviewed: it has been labelled again "
                "since. Make the page anew; nothing was changed"
            )
    after = _reviewed(annotation, found, marks)
    rejected = sum(not mark.accepted and not found[mark.index][1] for mark in marks)
    restored = sum(mark.accepted and found[mark.index][1] for mark in marks)
    # An interrupted review may have written the record and not the labels: so what it rejects is written again,
    # and whatever the journal, which comes last, has other counts of.
    touched = (
        after != annotation
        or any(not mark.accepted for mark in marks)
        or dict(entry.instances) != Counter(i.class_id for i in after.instances)
        or entry.dropped != len(after.dropped)
    )
    accepted = sum(mark.accepted for mark in marks) - restored
    return _Verdict(after, entry, rejected, restored, accepted, touched)


def _reviewed(annotation: Annotation, found: list[tuple[Instance, bool]], marks: Sequence[Mark]) -> Annotation:
    """The annotation after the marks; as the run made it where nothing is rejected any more."""
    rejected = {index for index, (_, was_rejected) in enumerate(found) if was_rejected}
    rejected -= {mark.index for mark in marks if mark.accepted}
    rejected |= {mark.index for mark in marks if not mark.accepted}
    return Annotation(
        key=annotation.key,
        image_size=annotation.image_size,
        instances=tuple(instance for index, (instance, _) in enumerate(found) if index not in rejected),
        dropped=(
            *(dropped for dropped in annotation.dropped if dropped.instance is None),
            *(_rejected(found[index][0], index) for index in sorted(rejected)),
        ),
    )


def _rejected(instance: Instance, index: int) -> Dropped:
    return Dropped(
        reason=REASON,
        class_id=instance.class_id,
        prompt_box=instance.prompt_box,
        detector_score=instance.quality.detector_score,
        prompt_points=instance.prompt_points,
        instance=instance,
        index=index,
    )


def formats_of(recipe: Recipe) -> list[LabelFormat]:
    """The formats of a run.

    Raises:
        UsageError: this version does not know one of them.
    """
    for name in recipe.formats:
        if name not in FORMATS:
            raise UsageError(f"this run has --format {name}, which this version of samcli does not know")
    return [FORMATS[name] for name in recipe.formats]


class _Publisher:
    """Writes annotations that a review has changed as the run's own worker wrote them."""

    def __init__(self, run: RunFolder) -> None:
        recipe = run.manifest.recipe
        self._run = run
        self._formats = formats_of(recipe)
        for name, fmt in zip(recipe.formats, self._formats, strict=True):
            if "logits" in fmt.needs:
                raise UsageError(
                    f"this run has --format {name}, which records do not hold: it cannot be made again without "
                    "the networks. Nothing was changed"
                )
        self._polygon_options = recorded_polygon_options(recipe.values)

    def publish(self, verdicts: Sequence[_Verdict]) -> None:
        """Write record, labels and journal line of each; then the files that hold all images."""
        run = self._run
        self._check_images(verdicts)
        all_images = folds(self._formats, run.manifest.names, self._polygon_options, run.layout.images_from_output)
        if all_images:
            run.mark_unfinished()
        with Journal(run.layout.journal, run.manifest.run) as journal:
            for verdict in verdicts:
                self._write(verdict.annotation, verdict.entry)
                journal.append(_outcome(run, verdict))
        for key, reason in run.finish(all_images).items():
            raise SamcliError(f"the file that holds all images is as it was before the review: {key!r}: {reason}")

    def _check_images(self, verdicts: Sequence[_Verdict]) -> None:
        """Nothing is written where an image that will be drawn on is gone."""
        if any("pixels" in fmt.needs for fmt in self._formats):
            gone = [
                v.annotation.key for v in verdicts if not (self._run.layout.input_root / v.annotation.key).is_file()
            ]
            if gone:
                raise UsageError(
                    f"a format of this run draws on the images, and {len(gone)} of them cannot be read, "
                    f"{gone[0]!r} first. Nothing was changed"
                )

    def _write(self, annotation: Annotation, entry: Entry) -> None:
        """Everything is rendered before anything is written: an image that is gone changes nothing."""
        key = annotation.key
        # Edges are those of the image: no verdict on a mask changes them.
        formats = [fmt for fmt in self._formats if "edges" not in fmt.needs]
        rendering = Rendering(
            annotation, self._run.manifest.names, self._polygon_options, self._pixels(key, formats),
            images=self._run.layout.images_from_output,
        )  # fmt: skip
        write_annotation(rendering, formats, self._run.layout, whole_name=entry.whole_name)

    def _pixels(self, key: str, formats: Sequence[LabelFormat]) -> Any:
        if not any("pixels" in fmt.needs for fmt in formats):
            return None
        try:
            return read_image(ImageRef(self._run.layout.input_root, key)).pixels
        except ImageError as error:
            raise UsageError(f"a format of this run draws on the image {key!r}: {error}") from error


def _outcome(run: RunFolder, verdict: _Verdict) -> Outcome:
    """The journal's line: about the same version of the image, with the counts of now."""
    annotation, entry = verdict.annotation, verdict.entry
    return Outcome(
        ref=ImageRef(run.layout.input_root, annotation.key, entry.size, entry.mtime_ns),
        status=Status.DONE,
        instances=Counter(i.class_id for i in annotation.instances),
        seconds=entry.seconds,
        whole_name=entry.whole_name,
        dropped=len(annotation.dropped),
        digest=entry.digest,
    )
