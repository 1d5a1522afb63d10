"""A finished run of very many images, made from one of a single image: nothing is computed again."""

from __future__ import annotations

import json
import os
from pathlib import Path

PER_FOLDER = 10_000


def multiply(data: Path, count: int) -> None:
    """Make the finished run over `data/images/000/0.jpg`, with labels in `data/labels`, one of `count` images.

    Images, labels and records are hard links to the first one's; the journal is written directly.
    """
    images, labels = data / "images", data / "labels"
    records, path = labels / ".samcli" / "records", labels / ".samcli" / "journal.jsonl"
    first = json.loads(path.read_text().splitlines()[0])
    with path.open("w") as journal:
        for number in range(count):
            folder, name = f"{number // PER_FOLDER:03}", str(number % PER_FOLDER)
            if name == "0":
                for place in (images, labels, records):
                    (place / folder).mkdir(parents=True, exist_ok=True)
            if number:
                _link(images / "000" / "0.jpg", images / folder / f"{name}.jpg")
                _link(labels / "000" / "0.txt", labels / folder / f"{name}.txt")
                _link(records / "000" / "0.jpg.json", records / folder / f"{name}.jpg.json")
            journal.write(json.dumps({**first, "key": f"{folder}/{name}.jpg"}, separators=(",", ":")) + "\n")
    manifest = json.loads((labels / ".samcli" / "run.json").read_text())
    manifest["total"] = count
    (labels / ".samcli" / "run.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def _link(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has enough of them (65,000 to a file on ext4)."""
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        target.write_bytes(source.read_bytes())
        os.utime(target, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
