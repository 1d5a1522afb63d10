"""Plan a run: which images are to do or done, and whether the output folder may be written.

Made from file names, the journal and the headers of checkpoints alone: no network is loaded, so a finished
run ends at once.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

import samcli
from samcli.checkpoints.registry import WeightsFile
from samcli.config import JobOptions
from samcli.errors import ImageError, SamcliError, UsageError
from samcli.images import Probe, probe_image
from samcli.jobs.base import Job, Models
from samcli.jobs.inputs import FoundImages, Inputs, find_input, open_inputs
from samcli.labels.existing import LabelledImages, files_of, find_labelled
from samcli.labels.formats import check_formats
from samcli.output.journal import JournalEntry
from samcli.output.layout import LabelFiles, Layout, Listing, Presence, assign_labels, make_layout, stem_of
from samcli.output.manifest import Manifest, Recipe, check_same_run, short
from samcli.output.remote import RemoteFolder
from samcli.output.run_folder import EarlierRun, RunFolder
from samcli.output.shards import Shard, parse_shard
from samcli.types import ImageRef

R = TypeVar("R")

_PICTURES = (".png", ".jpg", ".cutouts")
"""Ends of label files that are, or hold, pictures."""

_TOGETHER = 512
"""Headers that a thread reads at a time: a task for each would cost more than its header."""


@dataclass(frozen=True)
class Plan:
    """The images of a run or of its shard, each in exactly one of `todo`, `done`, `failed` and `collisions`."""

    layout: Layout
    labels: LabelFiles
    manifest: Manifest
    todo: tuple[ImageRef, ...]
    done: dict[str, JournalEntry]
    failed: dict[str, JournalEntry]
    """Failed in an earlier run, and not to be tried again."""
    collisions: dict[str, ImageRef]
    """Images that cannot have a label file of their own; the reasons are in `labels`."""
    changed: bool
    """The manifest on disk says something else or is not there, or a file for the whole data set is missing."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of what else the outcome of an image to do depends on, where there is something."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """Files of the input that are no images, by suffix."""
    existing: Mapping[str, str] = field(default_factory=dict)
    """Images that had labels before the run, to which objects are added: key to the name of the format."""
    others: tuple[str, ...] = ()
    """Keys of the images of other shards."""

    @property
    def precision(self) -> str:
        """Return the precision of the networks, never `auto`."""
        precision = self.manifest.recipe.precision
        if precision is None:
            raise UsageError(f"{self.layout.manifest} does not say the precision; --overwrite starts over")
        return precision

    @property
    def keys(self) -> list[str]:
        """Return the keys of all images of the run, those of other shards included."""
        return [*(ref.key for ref in self.todo), *self.done, *self.failed, *self.collisions, *self.others]

    @property
    def total(self) -> int:
        """Images found."""
        return len(self.todo) + len(self.done) + len(self.failed) + len(self.collisions)


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """For where values are made by the million and stay: to look through them for garbage takes long."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(frozen=True)
class Scope(Generic[R]):
    """Job, images and paths of a run, whatever its output folder contains."""

    job: Job[R]
    """Held against these images."""
    layout: Layout
    refs: Sequence[ImageRef]
    unasked: int
    """Images that were found and that the job is not about."""
    is_part: bool
    """Whether the input root may hold images that the input does not name."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """Files of the input that are no images, by suffix."""
    kept: int = 0
    """Images that had labels before the run and are left alone; not among `refs`."""


@_without_garbage_collection()
def find_scope(data: Path | Inputs, output: Path | RemoteFolder | None, job: Job[R]) -> Scope[R]:
    """Find the images, and hold the job against them.

    Raises:
        UsageError: no images, or something that the job cannot do with them.
    """
    check_formats(job.format_names)
    _check_provided(job)
    remote = output if isinstance(output, RemoteFolder) else None
    output = output.local if isinstance(output, RemoteFolder) else output
    inputs = data if isinstance(data, Inputs) else open_inputs([data])
    one_image = inputs.only if inputs.only is not None and inputs.only.is_file() else None
    found = find_input(inputs, output or (one_image and _beside(one_image, job)), job.folder, remote)
    layout, refs = replace(found.layout, shard=shard_asked_for(job.options), remote=remote), found.refs
    _check_apart(layout, job)
    job = (job.of_one_image() if one_image else job).matched([ref.key for ref in refs])
    asked = job.asked()
    wanted = refs if asked is None else [ref for ref in refs if ref.key in asked]
    return Scope(job, layout, wanted, len(refs) - len(wanted), inputs.is_part, _others(found, job))


def _beside(image: Path, job: Job[R]) -> Path | None:
    """Return the output folder for a single image: beside it, unless its folder has one.

    None: that of its folder, where a trainer would look or where this command has labelled the folder before.
    """
    of_folder = make_layout(image, None, job.folder)
    if "images" in of_folder.input_root.parts:
        return None
    with contextlib.suppress(SamcliError):  # a damaged manifest is reported where it matters
        run = RunFolder.find(of_folder.output)
        is_its_own = run is not None and run.manifest.recipe.command == job.command
        if is_its_own and run is not None and run.layout.input_root == of_folder.input_root:
            return None
    return image.parent / job.folder


def _others(found: FoundImages, job: Job[R]) -> dict[str, int]:
    """Return the numbers of files that are no images, by suffix, without the labels that the job writes there."""
    own = {Path("label" + suffix).suffix for suffix in job.suffixes}
    beside = found.layout.output == found.layout.input_root
    return {suffix: count for suffix, count in found.passed_over.items() if not (beside and suffix in own)}


def shard_asked_for(options: JobOptions) -> Shard | None:
    """Return the shard that a run is about, or None for all images.

    Raises:
        UsageError: `--shard` is none, or does not go with `--overwrite`.
    """
    if options.run.shard is None:
        return None
    if options.run.overwrite:
        raise UsageError(
            "--overwrite with --shard would remove what other shards wrote. Remove the output folder, or choose "
            "another --output"
        )
    return parse_shard(options.run.shard)


@_without_garbage_collection()
def make_plan(scope: Scope[R], models: Models | None, *, dry: bool = False) -> Plan:
    """Hold the images against what the output folder already has.

    `models`: None for a dry run whose checkpoints are not here yet; then those of the earlier run are assumed.
    `dry`: nothing will be computed; where there is no earlier recipe to compare with, `--precision auto` stays
    unresolved, as its real name costs the import of PyTorch.

    Raises:
        UsageError: another recipe or input in the output folder, or labels there that are not ours.
    """
    job, layout, options = scope.job, scope.layout, scope.job.options
    if options.run.overwrite and scope.is_part:
        _spare_other_images(layout, {ref.key for ref in scope.refs})
    earlier = EarlierRun() if options.run.overwrite else EarlierRun.read(layout)
    recipe, fingerprint = identify(job, models, earlier.manifest, dry=dry)
    files = [f"{layout.output}/{file}" for fmt in job.formats for file in fmt.own_files]
    owned = earlier.owned(short(fingerprint))
    labels = name_labels(scope, earlier, owned, files)
    labelled = _labelled_before(scope, labels, owned)
    if job.existing == "keep":
        left = [ref for ref in scope.refs if ref.key not in labelled.formats]
        scope = replace(scope, refs=left, kept=len(labelled.formats))
    elif labelled.unfit:
        labels = replace(labels, collisions={**labels.collisions, **labelled.unfit})
    manifest = build_manifest(scope, recipe, fingerprint, labels, earlier.manifest)
    if earlier.manifest is not None:
        check_same_run(earlier.manifest, manifest, layout.output)
        if not options.run.resume:
            raise UsageError(
                f"{layout.output} holds an earlier run: continue it with --resume or start over with --overwrite"
            )
    changed = manifest != earlier.manifest or _lacks_files(layout, job, files)
    plan = sort_images(scope, labels, manifest, earlier.journal, changed=changed)
    return replace(plan, existing=labelled.formats) if job.existing == "add" else plan


def identify(
    job: Job[R], models: Models | None, found: Manifest | None, *, dry: bool = False
) -> tuple[Recipe, str]:
    """Return the run's recipe and its fingerprint.

    Without models, those of the earlier run are taken where they have the same names. `dry`: see `make_plan`.
    """
    if models is None and found is not None:
        models = {
            role: WeightsFile(Path(name), model.sha256)
            for role, name in job.checkpoints.items()
            if (model := found.recipe.model(role)) is not None and model.name == name
        }
    recipe = recipe_of(job, models, found, dry=dry)
    return recipe, recipe.fingerprint


def name_labels(scope: Scope[R], earlier: EarlierRun, owned: dict[str, bool], files: Sequence[str]) -> LabelFiles:
    """Assign label files to each image.

    A file is not assigned if it belongs to another image, holds the labels of all images, or is not samcli's.

    `owned`: see `assign_labels`. `files`: those for the whole data set.

    Raises:
        UsageError: a new run would overwrite somebody's files.
    """
    options, refs = scope.job.options, scope.refs
    labels = assign_labels(scope.layout, refs, scope.job.suffixes, options.naming.on_collision, owned)
    labels = _spare_own_files(labels, refs, files)
    if scope.job.existing != "refuse":
        _check_extends(scope)
        refs, files = [], []
    elif options.run.overwrite:
        return labels
    return _spare_foreign_files(labels, refs, owned, files, begun=earlier.manifest is not None)


def build_manifest(
    scope: Scope[R], recipe: Recipe, fingerprint: str, labels: LabelFiles, found: Manifest | None
) -> Manifest:
    """Return the manifest of the run; `found`: that of the run which it goes on with.

    Some images of a folder whose run was begun change what is known of these alone.
    """
    layout, total = scope.layout, len(scope.refs)
    whole = found if scope.is_part else None
    return Manifest(
        recipe=recipe,
        fingerprint=fingerprint,
        input_root=layout.images_from_output,
        versions={"samcli": samcli.__version__},
        names=found.names if found else {},
        total=max(whole.total, total) if whole else total,
        collisions={**whole.collisions, **labels.collisions} if whole else labels.collisions,
        unasked=whole.unasked if whole else scope.unasked,
        shards=layout.shard.count if layout.shard else 0,
        kept=whole.kept if whole else scope.kept,
    )


def _lacks_files(layout: Layout, job: Job[R], files: Iterable[str]) -> bool:
    """Return whether a file for the whole data set is missing, or may not hold what the records do."""
    folds = any(fmt.folded_name for fmt in job.formats)
    return not all(Path(file).exists() for file in files) or (folds and layout.unfolded.exists())


def _spare_other_images(layout: Layout, keys: Set[str]) -> None:
    """To start over with some images would take away the labels of all others.

    Raises:
        UsageError: there are others.
    """
    others = EarlierRun.read(layout).done.keys() - keys
    if others:
        raise UsageError(
            f"--overwrite would remove the labels of {len(others)} other images in {layout.output}: "
            "give the whole folder, or another --output"
        )


def _check_provided(job: Job[R]) -> None:
    for name, fmt in zip(job.format_names, job.formats, strict=True):
        if missing := fmt.needs - job.provides:
            raise UsageError(
                f"--format {name} needs {', '.join(missing)}, which samcli {job.command} does not make"
            )


def _check_apart(layout: Layout, job: Job[R]) -> None:
    """Pictures and folders among the images would be taken for images, or take an image's place."""
    pictures = [
        suffix or "a folder for each image" for suffix in job.suffixes if not suffix or suffix.endswith(_PICTURES)
    ]
    remote = layout.remote
    is_same = remote is not None and remote.url.rstrip("/") == layout.origin.rstrip("/")
    if (is_same or layout.output == layout.input_root) and pictures:
        raise UsageError(f"--output is the input folder, and what is written ({pictures[0]}) does not belong there")


def recipe_of(job: Job[R], models: Models | None, found: Manifest | None, *, dry: bool = False) -> Recipe:
    """Every option that changes what is written, models by their hash, the precision by its real name.

    `--precision auto` means: as the run began, else what this device does best. So a run that moves to
    another machine stays of one piece. An exported detector that works alone has its own, whatever is asked for.
    """
    options, recipe = job.options, job.recipe()
    if "format" in recipe:  # in any order they are the same
        recipe["format"] = sorted(recipe["format"])
    for role, weights in (models or {}).items():
        recipe[role] = {"name": job.checkpoints[role], "sha256": weights.sha256}
    begun_in = found.recipe.precision if found else None
    if options.segmenter.precision == "auto" and found is not None:
        recipe["precision"] = begun_in
    elif options.segmenter.precision == "auto" and recipe.get("embeddings"):
        recipe["precision"] = recipe["embeddings"]["precision"]  # what is missing there is made alike
    elif job.computes_as_exported:
        recipe["precision"] = "as exported"
    elif begun_in == options.segmenter.precision:
        recipe["precision"] = options.segmenter.precision  # a finished run ends without PyTorch
    elif dry and found is None and (options.segmenter.precision, options.segmenter.device) == ("auto", "auto"):
        recipe["precision"] = "auto"
    else:
        from samcli.sam.devices import choose_device, choose_precision

        recipe["precision"] = choose_precision(
            options.segmenter.precision, choose_device(options.segmenter.devices[0])
        )
    return Recipe(json.loads(json.dumps(recipe)))  # as the manifest will hold it: to be compared with that


def _spare_own_files(labels: LabelFiles, refs: Iterable[ImageRef], files: Iterable[str]) -> LabelFiles:
    """No image's label may be a file for the whole data set: `annotations.json`, say, of an `annotations.jpg`."""
    own = {os.path.relpath(file, labels.layout.output).casefold() for file in files}
    stems = {name.rpartition(".")[0] for name in own}
    initials = {stem[:1] for stem in stems}
    reasons = {}
    for ref in refs:
        if ref.key.isascii() and ref.key[0].lower() not in initials:
            continue  # nearly all of a million
        if stem_of(ref.key).casefold() in stems and ref.key not in labels.collisions:
            paths = {os.path.relpath(path, labels.layout.output).casefold() for path in labels.paths(ref.key)}
            for name in sorted(paths & own):
                reasons[ref.key] = f"its label file would be the {name} of all images: rename the image"
    return replace(labels, collisions={**labels.collisions, **reasons}) if reasons else labels


def _spare_foreign_files(
    labels: LabelFiles, refs: Sequence[ImageRef], owned: dict[str, bool], files: Iterable[str], *, begun: bool
) -> LabelFiles:
    """Never overwrite labels that no run of ours has written: they may be somebody's work.

    Ours have a record beside them, which is written first. A new run with such files in its way is refused;
    in a run under way the images concerned fail alone.

    Raises:
        UsageError: a new run would overwrite files.
    """
    foreign, layout = _foreign_files(labels, refs, owned), labels.layout
    if begun:
        reasons = {
            key: f"{path} was not written by samcli; --overwrite replaces it" for key, path in foreign.items()
        }
        return replace(labels, collisions={**labels.collisions, **reasons})
    in_the_way = [*foreign.values(), *(file for file in files if Path(file).exists())]
    if in_the_way:
        above = next(
            (folder for folder in layout.output.parents if Layout(folder, folder).manifest.is_file()), None
        )
        if above is not None:
            raise UsageError(
                f"{layout.output} is part of the run in {above}: annotate that run's whole input instead"
            )
        raise UsageError(
            f"{layout.output} holds files that samcli did not write: {len(in_the_way)} in the way, the first "
            f"{in_the_way[0]}. Choose another --output, or --overwrite to replace them"
        )
    return labels


def _check_extends(scope: Scope[R]) -> None:
    """Refuse formats whose file for all images was there before the run and would lose what was in it.

    Raises:
        UsageError: it names the file.
    """
    layout, own = scope.layout, files_of(scope.layout)
    for name, fmt in zip(scope.job.format_names, scope.job.formats, strict=True):
        path = layout.own_file(fmt.folded_name or "")
        if fmt.folded_name and not fmt.extends and path not in own and Path(path).exists():
            raise UsageError(
                f"{path} was there before, and nothing can be added to a file of the format {name}: samcli convert "
                "makes COCO or another format of it, to which --existing adds"
            )


def _foreign_files(labels: LabelFiles, refs: Sequence[ImageRef], owned: Mapping[str, bool]) -> dict[str, str]:
    """Return the label file of each image that has one which no run of ours has written: it has no record."""
    layout = labels.layout
    listing = Listing(layout.names_in)
    return {
        ref.key: path
        for ref in refs
        if ref.key not in owned and ref.key not in labels.collisions and not listing.has(layout.record(ref.key))
        for path in labels.paths(ref.key)
        if listing.has(path) and not _is_released(path, labels)
    }


def _labelled_before(scope: Scope[R], labels: LabelFiles, owned: Mapping[str, bool]) -> LabelledImages:
    """Return the images that had labels before the run; none where such a run is refused.

    Raises:
        UsageError: the labels cannot be read, or the run would lose what an earlier one has kept of them.
    """
    layout, job = scope.layout, scope.job
    if job.existing == "refuse":
        if layout.preserved_root.is_dir():
            raise UsageError(
                f"{layout.output} holds labels from before its run, which it did not change: "
                "give --existing keep or add as before, or samcli take-back removes what the run has added"
            )
        return LabelledImages()
    own_files = files_of(layout)
    return find_labelled(labels, job.format_names, [ref.key for ref in scope.refs], owned, own_files)


def _is_released(path: str, labels: LabelFiles) -> bool:
    """Return whether a label file belongs to an image of ours that is gone."""
    return any(path in labels.paths(key) for key in labels.released)


def sort_images(
    scope: Scope[R], labels: LabelFiles, manifest: Manifest, journal: Mapping[str, JournalEntry], *, changed: bool
) -> Plan:
    """Return the plan.

    Each image where it belongs, by what the journal says of it and whether its files are there.
    """
    job, shard = scope.job, labels.layout.shard
    present, run = Presence(labels), manifest.run
    todo, done, failed, collisions = [], {}, {}, {}
    digests, others = {}, []
    for ref in scope.refs:
        key = ref.key
        if shard is not None and not shard.has(key):
            if key not in labels.collisions:
                others.append(key)
            continue
        entry, digest = journal.get(key), job.digest(key)
        if digest:
            digests[key] = digest
        if key in labels.collisions:
            collisions[key] = ref
        elif entry is None or not entry.is_about(ref, run) or entry.digest != digest:
            todo.append(ref)
        elif not entry.done:
            if job.options.run.retry_failed or entry.passing:
                todo.append(ref)
            else:
                failed[key] = entry
        elif present.has_all(key):
            done[key] = entry
        else:
            todo.append(ref)
    if shard is not None:
        labels = replace(labels, released=tuple(key for key in labels.released if shard.has(key)))
    return Plan(
        layout=labels.layout,
        labels=labels,
        manifest=manifest,
        todo=tuple(todo),
        done=done,
        failed=failed,
        collisions=collisions,
        changed=changed,
        digests=digests,
        passed_over=scope.passed_over,
        others=tuple(others),
    )


@dataclass(frozen=True)
class Survey:
    """Facts from the images' headers, for a dry run."""

    unreadable: dict[str, str]
    """Key to reason."""
    rotated: tuple[str, ...]
    wide: tuple[str, ...]
    alpha: tuple[str, ...]


def survey(refs: Iterable[ImageRef], options: JobOptions) -> Survey:
    """Read the header of every image."""

    def look(some: Sequence[ImageRef]) -> Survey:
        return _survey(some, options.input.max_pixels)

    refs = list(refs)
    parts = [refs[start : start + _TOGETHER] for start in range(0, len(refs), _TOGETHER)]
    with ThreadPoolExecutor(options.run.workers) as pool:
        seen = list(pool.map(look, parts))
    return Survey(
        unreadable={key: reason for one in seen for key, reason in one.unreadable.items()},
        rotated=tuple(key for one in seen for key in one.rotated),
        wide=tuple(key for one in seen for key in one.wide),
        alpha=tuple(key for one in seen for key in one.alpha),
    )


def _survey(refs: Iterable[ImageRef], max_pixels: int) -> Survey:
    """Read the headers of some images. What is usual about an image is not kept: there may be a million."""
    unreadable: dict[str, str] = {}
    unusual: dict[str, Probe] = {}
    for ref in refs:
        try:
            probe = probe_image(ref, max_pixels)
        except ImageError as error:
            unreadable[ref.key] = str(error)
            continue
        if probe.rotated or probe.wide or probe.alpha:
            unusual[ref.key] = probe
    return Survey(
        unreadable=unreadable,
        rotated=tuple(key for key, probe in unusual.items() if probe.rotated),
        wide=tuple(key for key, probe in unusual.items() if probe.wide),
        alpha=tuple(key for key, probe in unusual.items() if probe.alpha),
    )
