"""How long it takes to see that a million images are all done.

    python tests/benchmarks/resume.py [--images 1000000]

The images, labels and records are hard links to a few files, the journal is written directly; then the command
itself is run, in a process of its own. A million images are three million names: made soonest in `TMPDIR=/dev/shm`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import many


def main() -> None:
    """Print seconds and peak memory of a run with nothing left to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as temporary:
        images = Path(temporary) / "images"
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
        shapes = Path(__file__).parents[2] / "examples" / "shapes"
        (images / "000").mkdir(parents=True)
        shutil.copy(shapes / "nothing.jpg", images / "000" / "0.jpg")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        many.multiply(Path(temporary), count)
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


if __name__ == "__main__":
    main()
