"""How long it takes to see that a million images are all done.

    python tests/benchmarks/resume.py [--images 1000000]

The images are hard links to one file, the journal, labels and records are written directly; then the command
itself is run, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PER_FOLDER = 10_000


def main() -> None:
    """Print seconds and peak memory of a run with nothing left to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as temporary:
        images, labels = Path(temporary) / "images", Path(temporary) / "labels"
        command = [
            sys.executable,
            "-m",
            "samcli",
            "auto-annotate",
            str(images),
            "--det",
            "tiny",
            "--sam",
            "tiny",
            "-q",
        ]
        first = next((Path(__file__).parents[2] / "examples" / "shapes").glob("nothing.jpg"))
        (images / "000").mkdir(parents=True)
        (images / "000" / "0.jpg").write_bytes(first.read_bytes())
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        line = json.loads((labels / ".samcli" / "journal.jsonl").read_text())
        with (labels / ".samcli" / "journal.jsonl").open("w") as journal:
            for start in range(0, count, PER_FOLDER):
                folder = f"{start // PER_FOLDER:03}"
                for place in (images / folder, labels / folder, labels / ".samcli" / "records" / folder):
                    place.mkdir(parents=True, exist_ok=True)
                for index in range(min(PER_FOLDER, count - start)):
                    if (start, index) != (0, 0):
                        link(images / "000" / "0.jpg", images / folder / f"{index}.jpg")
                        link(labels / "000" / "0.txt", labels / folder / f"{index}.txt")
                        records = labels / ".samcli" / "records"
                        link(records / "000" / "0.jpg.json", records / folder / f"{index}.jpg.json")
                    journal.write(
                        json.dumps({**line, "key": f"{folder}/{index}.jpg"}, separators=(",", ":")) + "\n"
                    )
        begin = time.perf_counter()
        with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE) as process:
            _, _, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - begin
            summary = json.loads(process.stdout.read())  # type: ignore[union-attr]
            process.returncode = 0
        assert summary["skipped"] == count
        print(
            f"{count} images, all done: {seconds:.1f} s ({used.ru_utime + used.ru_stime:.1f} s of CPU), "
            f"{used.ru_maxrss / 1024:.0f} MB"
        )


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has enough of them (65,000 to a file on ext4)."""
    try:
        os.link(source, target)
    except OSError:
        target.write_bytes(source.read_bytes())
        os.utime(target, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))


if __name__ == "__main__":
    main()
