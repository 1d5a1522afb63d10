"""Reviews: a person's marks on a run's instances, and what becomes of its labels.

The page (`review.page`) exports marks as JSON; `apply_review` takes them. A rejected instance leaves the labels
and stays whole in the record, so a later review can restore it. Where it is a bad mask, the image shows an object
without a label: its label files are kept aside until the image is complete again. Instances are numbered as the
run labelled them, whatever reviews have rejected since.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from samcli.errors import ImageError, RecordError, SamcliError, UsageError
from samcli.images import read_image
from samcli.labels.formats import FORMATS, LabelFormat, Rendering
from samcli.labels.formats.base import recorded_polygon_options
from samcli.labels.training_lists import refresh_training_lists
from samcli.labels.writing import Written, folds, write_annotation
from samcli.output.authors import authors_but_machine
from samcli.output.journal import JournalEntry
from samcli.output.locks import locked
from samcli.output.manifest import Product, Recipe
from samcli.output.records import rejection
from samcli.output.run_folder import Fold, RunFolder, ShardJournals
from samcli.polygons import POLYGONS_VERSION, mask_to_polygons
from samcli.types import (
    Annotation,
    ImageMark,
    ImageRef,
    Instance,
    Outcome,
    Quality,
    Status,
    Verdict,
    Withheld,
)

REVIEW_FORMAT = "samcli-review"
REVIEW_VERSION = 2
_VERSIONS = (1, 2)
"""Those that are read; version 1 has one verdict, and no marks of images."""

ACCEPT = "accept"
_VERDICTS = {
    ACCEPT: None,
    "reject": Verdict.BAD_MASK,  # of version 1
    **{verdict.value: verdict for verdict in Verdict},
}
"""Word of a review file -> why the instance leaves the labels; None: it is labelled."""

CLEAR = "clear"
_IMAGE_MARKS = {CLEAR: None, **{mark.value: mark for mark in ImageMark}}
"""Word of a review file -> mark of the image; None: an earlier mark is taken away."""

_HASH_DIGITS = 16
_LARGEST = 1 << 28
"""Bytes of a review."""

DOUBT_FORMULA = "1 − predicted IoU × stability × box IoU"
"""What `doubt` computes, for people."""


def doubt(quality: Quality) -> float | None:
    """Return the uncertainty of an instance, 0 to 1: `DOUBT_FORMULA`.

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
    """Return the hash of class and mask, as hex digits: a mark is for this mask and no other."""
    mask = instance.mask
    head = f"{instance.class_id} {mask.height} {mask.width} ".encode()
    return hashlib.sha256(head + mask.counts).hexdigest()[:_HASH_DIGITS]


Judged = tuple[Instance, Verdict | None]
"""An instance, and why a review has rejected it; None: it is labelled."""


def as_labelled(annotation: Annotation) -> list[Judged]:
    """Return the instances in the order in which the run labelled them, with the verdicts of reviews.

    Raises:
        ValueError: the rejected ones do not fit among the others.
    """
    rejected = {
        one.index: (one.instance, one.verdict)
        for one in annotation.dropped
        if one.instance is not None and one.index is not None and one.verdict is not None
    }
    total = len(annotation.instances) + len(rejected)
    if not rejected.keys() <= set(range(total)):
        raise ValueError(f"the record is damaged: rejected instances {sorted(rejected)} among {total}")
    kept = iter(annotation.instances)
    return [rejected[index] if index in rejected else (next(kept), None) for index in range(total)]


@dataclass(frozen=True)
class Mark:
    """A person's word on one instance: which, by its number and its hash; `verdict`: None accepts it."""

    index: int
    hash: str
    verdict: Verdict | None


@dataclass(frozen=True)
class Review:
    """Marks by image key, and the fingerprint of the run that they are on."""

    fingerprint: str
    marks: Mapping[str, tuple[Mark, ...]]
    images: Mapping[str, ImageMark | None]
    """Marks of whole images; None takes an earlier one away."""

    def image_keys(self) -> list[str]:
        """Return the images that it lists, in order."""
        return sorted({*self.marks, *self.images})


def read_review(path: Path) -> Review:
    """Return a review as the page exports it.

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
    if content.get("version") not in _VERSIONS:
        refuse(f"is a review of version {content.get('version')!r}, not {' or '.join(map(str, _VERSIONS))}")
    rows = content.get("images", [])
    if not isinstance(content.get("fingerprint"), str) or not all(
        isinstance(value, list) for value in (content.get("marks"), rows)
    ):
        refuse("lacks its fingerprint or its marks")
    marks: dict[str, dict[int, Mark]] = defaultdict(dict)
    for number, row in enumerate(content["marks"]):
        if not _is_mark(row):
            refuse(f"has a mark (number {number}) without key, index, hash, and one of {', '.join(_VERDICTS)}")
        marks[row["key"]][row["index"]] = Mark(row["index"], row["hash"], _VERDICTS[row["mark"]])
    for number, row in enumerate(rows):
        if not _is_image_mark(row):
            refuse(f"has a mark of an image (number {number}) without key, and one of {', '.join(_IMAGE_MARKS)}")
    return Review(
        content["fingerprint"],
        {key: tuple(found.values()) for key, found in marks.items()},
        {row["key"]: _IMAGE_MARKS[row["mark"]] for row in rows},
    )


def _is_mark(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("key"), str)
        and type(row.get("index")) is int
        and isinstance(row.get("hash"), str)
        and isinstance(row.get("mark"), str)
        and row["mark"] in _VERDICTS
    )


def _is_image_mark(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("key"), str)
        and isinstance(row.get("mark"), str)
        and row["mark"] in _IMAGE_MARKS
    )


@dataclass(frozen=True)
class AppliedReview:
    """Changes made by a review. `accepted` counts marks on instances that were in the labels before."""

    images: int = 0
    rejected: int = 0
    bad_masks: int = 0
    """Of the rejected ones."""
    restored: int = 0
    accepted: int = 0
    incomplete: int = 0
    """Images that trainers do not get any more, as they show objects without a label."""
    excluded: int = 0
    """Images that trainers do not get any more, as a person excluded them."""
    complete: int = 0
    """Images that trainers get again."""
    remade: int = 0
    """Images that it does not list, whose polygons an earlier version wrote: no run mixes two kinds of them."""


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
        judgements = [_judge(run, key, entries.get(key), review) for key in review.image_keys()]
        changed = [judgement for judgement in judgements if judgement.touched]
        remade = Publisher(run).publish(changed) if changed or run.is_unfinished else 0
        refresh_training_lists(run)
    return replace(_counted(judgements), remade=remade)


def _counted(judgements: Sequence[_Judgement]) -> AppliedReview:
    objects = [change for judgement in judgements for change in judgement.objects]
    rejected = [after for before, after in objects if before is None and after is not None]
    moved = Counter(
        judgement.annotation.withheld
        for judgement in judgements
        if judgement.annotation.withheld is not judgement.entry.withheld
    )
    return AppliedReview(
        images=sum(judgement.changed for judgement in judgements),
        rejected=len(rejected),
        bad_masks=rejected.count(Verdict.BAD_MASK),
        restored=sum(before is not None and after is None for before, after in objects),
        accepted=objects.count((None, None)),
        incomplete=moved[Withheld.INCOMPLETE],
        excluded=moved[Withheld.EXCLUDED],
        complete=moved[None],
    )


@dataclass(frozen=True)
class _Judgement:
    """One image's annotation as its marks make it, with what they change."""

    annotation: Annotation
    entry: JournalEntry
    objects: tuple[tuple[Verdict | None, Verdict | None], ...]
    """The verdict before and after, for each mark."""
    changed: bool
    """The record is another than before."""
    touched: bool
    """Its files are to be written."""


def _judge(run: RunFolder, key: str, entry: JournalEntry | None, review: Review) -> _Judgement:
    marks = review.marks.get(key, ())
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
    after = replace(_reviewed(annotation, found, marks), mark=_image_mark(annotation, found, review))
    # An interrupted review may have written the record and not the labels: so what it rejects is written again,
    # and whatever the journal, which comes last, has other counts of.
    touched = (
        after != annotation
        or key in review.images
        or any(mark.verdict is not None for mark in marks)
        or dict(entry.instances) != Counter(i.class_id for i in after.instances)
        or entry.dropped != len(after.dropped)
        or entry.withheld is not after.withheld
    )
    objects = tuple((found[mark.index][1], mark.verdict) for mark in marks)
    return _Judgement(after, entry, objects, after != annotation, touched)


def _reviewed(annotation: Annotation, found: Sequence[Judged], marks: Sequence[Mark]) -> Annotation:
    """Return the annotation after the marks; as the run made it where nothing is rejected any more."""
    verdicts = [verdict for _, verdict in found]
    for mark in marks:
        verdicts[mark.index] = mark.verdict
    return relabelled(annotation, [(one, verdict) for (one, _), verdict in zip(found, verdicts, strict=True)])


def relabelled(annotation: Annotation, judged: Sequence[Judged]) -> Annotation:
    """Return the annotation with these instances, the inverse of `as_labelled`."""
    return replace(
        annotation,
        instances=tuple(instance for instance, verdict in judged if verdict is None),
        dropped=(
            *(dropped for dropped in annotation.dropped if dropped.verdict is None),
            *(rejection(one, index, verdict) for index, (one, verdict) in enumerate(judged) if verdict is not None),
        ),
    )


def _image_mark(annotation: Annotation, found: Sequence[Judged], review: Review) -> ImageMark | None:
    """Return the mark of the image: the review's own, else the earlier one.

    An image was complete as it was labelled then: a bad mask that leaves it in a later review takes that mark away.
    """
    if annotation.key in review.images:
        return review.images[annotation.key]
    new = {mark.index for mark in review.marks.get(annotation.key, ()) if mark.verdict is Verdict.BAD_MASK}
    is_news = any(found[index][1] is not Verdict.BAD_MASK for index in new)
    return None if is_news and annotation.mark is ImageMark.COMPLETE else annotation.mark


def formats_of(recipe: Recipe) -> list[LabelFormat]:
    """Return the formats of a run.

    Raises:
        UsageError: this version does not know one of them.
    """
    for name in recipe.formats:
        if name not in FORMATS:
            raise UsageError(f"this run has --format {name}, which this version of samcli does not know")
    return [FORMATS[name] for name in recipe.formats]


_REMEMBERED = 512
"""Masks whose polygons are kept: an edit changes one object, and all of its image are written again."""


class Publisher:
    """Writes annotations that a person has changed as the run's own worker wrote them."""

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
        self._outline = functools.lru_cache(_REMEMBERED)(mask_to_polygons)
        has_rings = any(fmt.has_rings for fmt in self._formats)
        self.is_of_earlier_version = has_rings and recipe.values.get("polygons") != POLYGONS_VERSION

    def publish(self, judgements: Sequence[_Judgement]) -> int:
        """Write record, labels and journal line of each; then the files that hold all images.

        Where an earlier version wrote the polygons of the run, those of all other images are written again, too.
        Returns how many these are.
        """
        run, remade = self._run, 0
        self._check_images(judgements)
        if self.is_of_earlier_version or self._folds:
            run.mark_unfinished()
        with run.journal() as journal:
            for judgement in judgements:
                self._publish(judgement.annotation, judgement.entry, journal)
            for judgement in self._others({one.annotation.key for one in judgements}):
                self._publish(judgement.annotation, judgement.entry, journal)
                remade += 1
        self.finish()
        return remade

    def publish_one(self, annotation: Annotation, entry: JournalEntry) -> None:
        """Write record, labels and journal line of one image; `finish` is still to be called.

        Raises:
            UsageError: a format draws on the image, which cannot be read.
            OSError: the files cannot be written.
        """
        self._run.mark_unfinished()
        with self._run.journal() as journal:
            self._publish(annotation, entry, journal)

    def _publish(self, annotation: Annotation, entry: JournalEntry, journal: ShardJournals) -> None:
        written = self._write(annotation, entry)
        journal.append(_outcome(self._run, annotation, entry, written))

    def finish(self) -> None:
        """Write the files that hold all images.

        Raises:
            SamcliError: a record cannot be read.
        """
        for key, reason in self._run.finish(self._folds).items():
            raise SamcliError(f"the file that holds all images is as it was before the review: {key!r}: {reason}")

    def _others(self, keys: Collection[str]) -> Iterator[_Judgement]:
        """Yield all other images of a run whose polygons an earlier version wrote, as they are.

        Raises:
            RecordError: a record cannot be read.
        """
        if not self.is_of_earlier_version:
            return
        for key, entry in self._run.entries().items():
            if entry.done and key not in keys:
                yield _Judgement(self._run.record(key), entry, (), changed=False, touched=True)

    @property
    def _folds(self) -> list[Fold]:
        run = self._run
        return folds(self._formats, run.manifest, self._polygon_options, run.layout)

    def _check_images(self, judgements: Sequence[_Judgement]) -> None:
        """Nothing is written where an image that will be drawn on is gone."""
        if any("pixels" in fmt.needs for fmt in self._formats):
            gone = [
                one.annotation.key
                for one in judgements
                if not ImageRef(self._run.layout.input_root, one.annotation.key).path.is_file()
            ]
            if gone:
                raise UsageError(
                    f"a format of this run draws on the images, and {len(gone)} of them cannot be read, "
                    f"{gone[0]!r} first. Nothing was changed"
                )

    def _write(self, annotation: Annotation, entry: JournalEntry) -> Written:
        """Write the labels of an image. All is rendered first: nothing is written if the image cannot be read."""
        key = annotation.key
        # Edges are those of the image: no verdict on a mask changes them.
        formats = [fmt for fmt in self._formats if "edges" not in fmt.needs]
        rendering = Rendering(
            annotation, self._run.manifest.names, self._polygon_options, self._pixels(key, formats),
            images=self._run.layout.images_from_output, outline=self._outline,
        )  # fmt: skip
        return write_annotation(rendering, formats, self._run.layout, whole_name=entry.whole_name)

    def _pixels(self, key: str, formats: Sequence[LabelFormat]) -> Any:
        if not any("pixels" in fmt.needs for fmt in formats):
            return None
        try:
            return read_image(ImageRef(self._run.layout.input_root, key)).pixels
        except ImageError as error:
            raise UsageError(f"a format of this run draws on the image {key!r}: {error}") from error


def _outcome(run: RunFolder, annotation: Annotation, entry: JournalEntry, written: Written) -> Outcome:
    """Return the journal's line: about the same version of the image, with the counts of now."""
    return Outcome(
        ref=ImageRef(run.layout.input_root, annotation.key, entry.size, entry.mtime_ns),
        status=Status.DONE,
        instances=Counter(i.class_id for i in annotation.instances),
        seconds=entry.seconds,
        whole_name=entry.whole_name,
        dropped=len(annotation.dropped),
        digest=entry.digest,
        withheld=annotation.withheld,
        rows=written.rows,
        low_polygons=written.low_polygons,
        authors=authors_but_machine(annotation.instances),
    )
