"""Prompts: what to look for in each image, from the command line, a prompts file, COCO or YOLO labels.

source = open_prompts(path).matched(keys)  # or command_line_prompts(points, boxes)
objects = source.for_image(key, image_size)
for indices, prompts in group(objects): ...  # prompts: as the engine takes them
"""

from __future__ import annotations

from pathlib import Path

from samcli.config import ReadingOptions
from samcli.errors import UsageError, missing_path
from samcli.labels.known_files import what_it_is
from samcli.prompts.command_line import command_line_prompts
from samcli.prompts.csv_files import read_csv
from samcli.prompts.json_files import is_own_json, read_json, read_jsonl
from samcli.prompts.labels import open_label_prompts
from samcli.prompts.objects import ObjectPrompt, PromptSource, fit_to_image, group, kept_mask

__all__ = [
    "ObjectPrompt",
    "PromptSource",
    "command_line_prompts",
    "fit_to_image",
    "group",
    "kept_mask",
    "open_prompts",
]


def open_prompts(path: Path, names: Path | None = None, options: ReadingOptions | None = None) -> PromptSource:
    """Prompts from a file (.json: ours or COCO's; .jsonl, .csv) or a folder of YOLO label files.

    `names`: the file of class names for label files; None: the one beside them.

    A file is read and checked whole; label files are read when their image's turn comes.

    Raises:
        UsageError: it cannot be read, or something in it is not as it should be; names file and line.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise missing_path(path, "a prompts file or labels")
    if path.is_file() and suffix == ".csv":
        return read_csv(path)
    if path.is_file() and suffix in (".jsonl", ".ndjson"):
        return read_jsonl(path)
    if path.is_file() and suffix == ".json" and is_own_json(path):
        if (known := what_it_is(path, prompts=False)) is not None and not known.startswith(("damaged", "JSON")):
            raise UsageError(f"{path} is {known}")
        return read_json(path)
    if path.is_file() and suffix not in (".json", ".zip", ".xml"):
        hint = f"; this is {known}" if (known := what_it_is(path)) else ""
        raise UsageError(f"{path}: expected .json, .jsonl, .csv, or a file or folder of labels{hint}")
    return open_label_prompts(path, names, options or ReadingOptions())
