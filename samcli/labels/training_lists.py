"""Lists of the images that a trainer is to take, where a run has images that trainers do not get.

A trainer that is given a folder takes images without a label file for background. So the `data.yaml` of such a run
names lists of images in place of the folders; when trainers get all images again, it is what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from samcli.files import remove, write_atomic
from samcli.labels.formats import FORMATS, LabelFormat
from samcli.output.layout import RUN_FOLDER
from samcli.output.run_folder import RunFolder

_SUFFIX = ".txt"


def has_training_lists(run: RunFolder) -> bool:
    """Return whether there are lists: some images may have been withheld until now."""
    return any((run.output / name).exists() for name in _lists(run).values())


def refresh_training_lists(run: RunFolder) -> None:
    """Make `data.yaml` and the lists that it names say which images trainers get; both only where we wrote them.

    Raises:
        StorageError: nothing can be written.
    """
    splits = run.layout.splits_from_output()
    formats = [FORMATS[name] for name in run.manifest.recipe.formats if name in FORMATS]
    plain = _data_set_files(run, formats, splits)
    lists = _lists(run)
    listing = _data_set_files(run, formats, lists)
    concerned = [file for file in plain if plain[file] != listing[file] and _is_ours(run, file, plain, listing)]
    entries = run.entries()
    is_listed = bool(concerned) and any(entry.withheld for entry in entries.values())
    trained = (
        sorted(key for key, entry in entries.items() if entry.done and not entry.withheld) if is_listed else []
    )
    for split, name in lists.items():
        if is_listed:
            _write(run.output / name, "".join(_lines(run, trained, splits[split])).encode())
    for file in concerned:
        _write(run.output / file, (listing if is_listed else plain)[file])
    if not is_listed:
        for name in lists.values():
            remove(run.output / name)


def _lists(run: RunFolder) -> dict[str, str]:
    """Split -> its list as seen from the output folder."""
    return {split: f"{RUN_FOLDER}/{split}{_SUFFIX}" for split in run.layout.splits_from_output()}


def _data_set_files(run: RunFolder, formats: Iterable[LabelFormat], splits: Mapping[str, str]) -> dict[str, bytes]:
    return {file: data for fmt in formats for file, data in fmt.data_set_files(run.manifest.names, splits).items()}


def _is_ours(run: RunFolder, file: str, *written: Mapping[str, bytes]) -> bool:
    """Return whether a file is as we wrote it: people edit them."""
    try:
        content = (run.output / file).read_bytes()
    except OSError:
        return False
    return any(content == files[file] for files in written)


def _write(path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        write_atomic(path, data)


def _lines(run: RunFolder, keys: Iterable[str], folder: str) -> Iterator[str]:
    """Yield a line for each image in a folder of the split, as seen from the list: a trainer takes `./` for its
    folder.

    Names that no list can hold are left out: those with line breaks or outer spaces, and those that are no UTF-8.
    """
    images = run.layout.images_from_output
    below = "" if folder == images else folder[len(images) + 1 :] + "/"
    for key in keys:
        path = f"./../{images}/{key}"
        if key.startswith(below) and _fits_in_list(path) and run.layout.has_image(key):
            yield path + "\n"


def _fits_in_list(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return path == path.strip() and len(path.splitlines()) == 1
