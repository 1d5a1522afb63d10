"""The input of a run: images, folders, patterns, lists of paths, data sets, in any number.

Whatever names the images, a run knows them by one rule: there is one input root, and the key of an image is its
path below that root. The root is the folder that was given; of several inputs, the deepest folder that holds all
of them; or what `--root` says. So keys are unique, and the same images in any order, named in any way, have the
same keys.
"""

from __future__ import annotations

import contextlib
import logging
import operator
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from samcli.config import SourceOptions
from samcli.errors import SamcliError, UsageError, is_url, missing_path
from samcli.images import (
    RAW_REMEDY,
    RAW_SUFFIXES,
    find_images,
    image_ref,
    is_image_name,
    no_image,
    search,
    suffix_of,
)
from samcli.images.pages import with_all_pages
from samcli.images.patterns import Pattern, is_pattern, split_pattern
from samcli.jobs.listed import (
    COCO_SUFFIX,
    LIST_SUFFIXES,
    YAML_SUFFIXES,
    listed_paths,
    paths_of_coco,
    places_of_yaml,
)
from samcli.output.layout import Layout, default_output, make_layout, nowhere
from samcli.output.manifest import read_manifest
from samcli.output.remote import RemoteFolder
from samcli.stores.addresses import local_path
from samcli.stores.source import ImageSource, is_source, open_source
from samcli.types import ImageRef

log = logging.getLogger("samcli")

STDIN = "-"
"""The argument that stands for a list of paths on standard input."""

_EXPECTED = "images, folders, patterns ('data/**/*.jpg'), a list of paths (.txt or -), data.yaml, COCO .json"


@dataclass(frozen=True)
class Tree:
    """A folder to be searched; `pattern`: for the files that match alone."""

    top: Path
    pattern: Pattern | None = None


@dataclass(frozen=True)
class Inputs:
    """Folders to search and single files that the arguments name, all as absolute paths."""

    given: str
    """The arguments in words, for messages."""
    trees: tuple[Tree, ...] = ()
    files: tuple[str, ...] = ()
    """Images by name, which need not exist: a list may be older than its images."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """Files that were named and are no images, by suffix."""
    root: Path | None = None
    """The input root, where it is asked for."""
    source: ImageSource | None = None
    """The images, where they are no files; then there is nothing else."""
    all_pages: bool = False
    """Whether each page of a file is an image, not the first alone."""

    @property
    def is_part(self) -> bool:
        """Return whether the root may hold images that the input does not name."""
        if self.source is not None:
            return self.source.is_part
        return bool(self.files or self.root is not None or any(tree.pattern for tree in self.trees))

    @property
    def only(self) -> Path | None:
        """Return the image or the folder, where the input is nothing else."""
        if self.root is not None or len(self.trees) + len(self.files) != 1:
            return None
        if self.files:
            return Path(self.files[0])
        return self.trees[0].top if self.trees[0].pattern is None else None

    @cached_property
    def tops(self) -> set[str]:
        """Return the folders that the root must hold."""
        folders = {path.rpartition("/")[0] or "/" for path in self.files}
        return folders | {str(tree.top) for tree in self.trees}

    @property
    def deepest(self) -> Path | None:
        """Return the deepest folder that holds all inputs; None: another root is asked for."""
        return Path(os.path.commonpath(sorted(self.tops))) if self.root is None else None


@dataclass(frozen=True)
class FoundImages:
    """The images of an input, in the order of keys, and where their labels go."""

    layout: Layout
    refs: Sequence[ImageRef]
    passed_over: Mapping[str, int]
    """Files that are no images, by suffix."""


def open_inputs(arguments: Sequence[str | Path], options: SourceOptions | None = None) -> Inputs:
    """Look what each argument is. Folders are not searched yet; lists are read.

    Raises:
        UsageError: an argument names nothing, or is nothing that can be an input.
    """
    options = options or SourceOptions()
    names = [local_path(str(argument)) for argument in arguments]
    if any(map(is_source, names)):
        return _open_source(names, options)
    among_images = any(is_image_name(name) and Path(name).is_file() for name in names)
    collected = _Collected(options.split, among_images=among_images)
    for name in names:
        collected.add(name)
    if options.split is not None and not collected.has_splits:
        raise UsageError(f"--split {options.split} is for a data.yaml as the input; there is none in {names[0]}")
    root = Path(os.path.abspath(Path(options.root).expanduser())) if options.root else None  # noqa: PTH100
    if root is not None and not root.is_dir():
        raise UsageError(f"--root {root} is no folder; give one that holds all inputs")
    given = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    return Inputs(
        given, tuple(dict.fromkeys(collected.trees)), tuple(dict.fromkeys(collected.files)), collected.passed_over,
        root, all_pages=options.pages == "all",
    )  # fmt: skip


def _open_source(names: Sequence[str], options: SourceOptions) -> Inputs:
    """Return the inputs of images that are no files. Raises what `open_inputs` raises."""
    all_pages = options.pages if options.pages != "first" else None
    for flag, value in (("--root", options.root), ("--split", options.split), ("--pages", all_pages)):
        if value is not None:
            raise UsageError(f"{flag} is for images on this machine; {names[0]} is none")
    given = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    return Inputs(given, source=open_source(names, options.store_timeout))


class _Collected:
    """Collect the inputs that the arguments name, one after the other. `among_images`: files of other kinds are
    passed over.
    """

    def __init__(self, split: str | None, *, among_images: bool) -> None:
        self._split = split
        self._among_images = among_images
        self.trees: list[Tree] = []
        self.files: list[str] = []
        self.passed_over: Counter[str] = Counter()
        self.has_splits = False

    def add(self, name: str) -> None:
        """Add an argument.

        Raises:
            UsageError: it names nothing, or is nothing that can be an input.
        """
        path = Path(name).expanduser()
        if name == STDIN:
            self._add_list(sys.stdin.buffer, Path("standard input"), [Path.cwd()])
        elif path.is_dir():
            self.trees.append(Tree(_absolute(path)))
        elif path.is_file():
            self._add_file(path)
        elif _is_stream(path):
            with path.open("rb") as file:
                self._add_list(file, path, [Path.cwd()])
        elif is_pattern(name) and not os.path.lexists(path) and not is_url(path):
            self._add_pattern(name)
        else:
            hint = ". The output folder is given with --output" if self.trees or self.files else ""
            if path.exists():
                raise UsageError(f"{name} is not a regular file; expected {_EXPECTED}{hint}")
            raise missing_path(path, f"{_EXPECTED}{hint}")

    def _add_file(self, path: Path) -> None:
        suffix = path.suffix.lower()
        if is_image_name(path.name):
            self.files.append(str(_absolute(path)))
        elif self._among_images:  # `photos/*`
            self.passed_over[suffix_of(path.name)] += 1
        elif suffix in LIST_SUFFIXES:
            with path.open("rb") as file:
                self._add_list(file, path, [path.parent, Path.cwd()])
        elif suffix in YAML_SUFFIXES:
            self.has_splits = True
            for place in places_of_yaml(path, self._split):
                self.add(str(place))
        elif suffix == COCO_SUFFIX:
            self.files += paths_of_coco(_absolute(path))
        else:
            raise UsageError(no_image(path))

    def _add_list(self, file: BinaryIO, path: Path, bases: Sequence[Path]) -> None:
        found, before = 0, len(self.trees)
        for line in listed_paths(file, path, [_absolute(base) for base in bases]):
            if is_image_name(line):
                self.files.append(line)
                found += 1
            elif os.path.isdir(line):  # noqa: PTH112 - asked for by the million
                self.trees.append(Tree(Path(line)))
            else:
                self.passed_over[suffix_of(line)] += 1
        if not found and len(self.trees) == before:
            raise UsageError(f"no images in {path}: expected the path of an image or a folder on each line")

    def _add_pattern(self, name: str) -> None:
        top, pattern = split_pattern(name)
        if not top.is_dir():
            raise UsageError(f"{name} matches nothing: {top} is no folder")
        self.trees.append(Tree(top, pattern))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def _is_stream(path: Path) -> bool:
    """Return whether a path is a pipe, as `<(find ...)` makes them."""
    with contextlib.suppress(OSError):
        return stat.S_ISFIFO(path.stat().st_mode)
    return False


def find_input(inputs: Inputs, output: Path | None, folder: str, remote: RemoteFolder | None = None) -> FoundImages:
    """Find the images, and where their labels go. `folder`: the output folder's name where no output is given.

    `remote`: the output folder in an object store; `output` is its local part.

    Raises:
        UsageError: there are no images, no folder for the labels, or two images of one key.
    """
    found = _find_files(inputs, output, folder, remote)
    return replace(found, refs=with_all_pages(found.refs)) if inputs.all_pages else found


def _find_files(inputs: Inputs, output: Path | None, folder: str, remote: RemoteFolder | None) -> FoundImages:
    passed_over = Counter(inputs.passed_over)
    if inputs.source is not None:
        return _find_in_source(inputs.source, output, remote, passed_over)
    root = _root_of(inputs, output)
    if inputs.only is not None and inputs.only.exists() and root == inputs.deepest:
        layout = make_layout(inputs.only, output, folder)
        exclude = [layout.output] if layout.output != layout.input_root else []
        start = layout.input_root if inputs.trees else inputs.only
        refs = find_images(start, exclude=exclude, passed_over=passed_over)
        return FoundImages(layout, refs, passed_over)
    refs = _refs(inputs, root, output or default_output(root, folder), passed_over)
    if root == inputs.deepest:
        refs = _below_images(refs)
    if not refs:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in passed_over.most_common(5))
        raw = f"; {RAW_REMEDY}" if not passed_over.keys().isdisjoint(RAW_SUFFIXES) else ""
        raise UsageError(f"no images in {inputs.given}" + (f" (passed over: {counts}{raw})" if counts else ""))
    root = refs[0].root
    if output is None and root.parent == root:
        raise UsageError(f"the inputs have no folder in common but {root}: say where labels go with --output")
    return FoundImages(make_layout(root, output, folder, whole=True), refs, passed_over)


def _find_in_source(
    source: ImageSource, output: Path | None, remote: RemoteFolder | None, passed_over: Counter[str]
) -> FoundImages:
    """Return the images of an object store or of tar files. Raises what `find_input` raises."""
    if output is None:
        raise UsageError(f"no --output: say where the labels of {source.url} go, in a folder or an object store")
    output = _absolute(output)
    root = nowhere(output)
    exclude = remote.url if remote else f"file://{output}"
    refs = source.find(root, exclude=exclude, passed_over=passed_over)
    return FoundImages(Layout(root, output, origin=source.url, source=source), refs, passed_over)


def _root_of(inputs: Inputs, output: Path | None) -> Path:
    """Return the input root: the one asked for, else that of the run in the output folder if it holds all inputs.

    Else it is the deepest folder that holds them.

    Raises:
        UsageError: an input lies outside of what is asked for.
    """
    if (root := inputs.root) is not None:
        if outside := next((top for top in sorted(inputs.tops) if not Path(top).is_relative_to(root)), None):
            raise UsageError(f"{outside} is not below --root {root}; give a folder that holds all inputs")
        return root
    deepest = inputs.deepest or Path("/")
    begun = _root_of_run(_absolute(output)) if output is not None and inputs.is_part else None
    return begun if begun is not None and deepest.is_relative_to(begun) else deepest


def _root_of_run(output: Path) -> Path | None:
    """Return the input root of the run that was begun in an output folder; what is wrong with one is told later."""
    with contextlib.suppress(SamcliError):
        if manifest := read_manifest(Layout(output, output).manifest):
            return Path(os.path.normpath(output / manifest.input_root))
    return None


def _refs(inputs: Inputs, root: Path, output: Path, passed_over: Counter[str]) -> list[ImageRef]:
    """Return all images, by key.

    Each once, however often it is named. What lies in the output folder is no input.
    """
    output = _absolute(output)
    found: dict[str, ImageRef] = {}
    prefix = "" if output == root else f"{output}/"
    for ref in _single_files(inputs, root):
        if not prefix or not f"{root}/{ref.key}".startswith(prefix):
            found[ref.key] = ref
    for tree in inputs.trees:
        above = "" if tree.top == root else tree.top.relative_to(root).as_posix() + "/"
        before = len(found)
        exclude = [output] if output != root else []
        for ref in search(tree.top, exclude=exclude, pattern=tree.pattern, passed_over=passed_over):
            key = above + ref.key
            found[key] = ImageRef(root, key, ref.size, ref.mtime_ns)
        if len(found) == before and len(inputs.trees) > 1:
            log.warning("no images of their own in %s", tree.top)
    return sorted(found.values(), key=operator.attrgetter("key"))


def _single_files(inputs: Inputs, root: Path) -> Iterator[ImageRef]:
    """Yield a reference for each single file; those that are not there have no size, and fail when they are read.

    Raises:
        UsageError: none of them is there.
    """
    start = len(f"{root}/".replace("//", "/"))
    missing = 0
    for path in inputs.files:
        try:
            yield image_ref(root, path[start:], os.stat(path))  # noqa: PTH116 - asked for by the million
        except OSError:
            missing += 1
            yield ImageRef(root, path[start:])
    if missing and missing == len(inputs.files) and not inputs.trees:
        raise UsageError(
            f"none of the {missing} images that {inputs.given} names is there, e.g. {inputs.files[0]}. Relative "
            "paths are looked for beside a list, then in the current folder"
        )


def _below_images(refs: list[ImageRef]) -> list[ImageRef]:
    """Return the same with their root at `images`, where all lie below that.

    It is the usual shape of a data set.
    """
    name = "images/"
    if not refs or refs[0].root.name == "images" or not all(ref.key.startswith(name) for ref in refs):
        return refs
    root = refs[0].root / "images"
    return [replace(ref, root=root, key=ref.key[len(name) :]) for ref in refs]
