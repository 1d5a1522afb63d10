"""A finished run of very many images, made from one of a single image: nothing is computed again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

PER_FOLDER = 10_000


def multiply(data: Path, count: int) -> None:
    """Make the finished run over `data/images/000/0.jpg`, with labels in `data/labels`, one of `count` images.

    Images, labels and records are hard links to the first one's; the journal is written directly.
    """
    images, labels = data / "images", data / "labels"
    records, path = labels / ".samcli" / "records", labels / ".samcli" / "journal.jsonl"
    suffixes = {images: ".jpg", labels: ".txt", records: ".jpg.json"}
    sources = {place: place / "000" / f"0{suffix}" for place, suffix in suffixes.items()}
    first = json.loads(path.read_text().splitlines()[0])
    with path.open("w") as journal:
        for number in range(count):
            folder, name = f"{number // PER_FOLDER:03}", str(number % PER_FOLDER)
            if name == "0":
                for place in (images, labels, records):
                    (place / folder).mkdir(parents=True, exist_ok=True)
            if number:
                for place, suffix in suffixes.items():
                    sources[place] = _link(sources[place], place / folder / f"{name}{suffix}")
            line = {**first, "key": f"{folder}/{name}.jpg", "instances": {str(number % 7): 1 + number % 50}}
            line["seconds"] = number % 997 / 1000  # lines differ, as in life
            journal.write(json.dumps(line, separators=(",", ":")) + "\n")
    manifest = json.loads((labels / ".samcli" / "run.json").read_text())
    manifest["total"] = count
    (labels / ".samcli" / "run.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def _link(source: Path, target: Path) -> Path:
    """A hard link; a copy where the file system has enough of them (65,000 to a file on ext4). The next source."""
    try:
        os.link(source, target)
    except FileExistsError:
        return source
    except OSError:
        shutil.copy2(source, target)
        return target
    return source
