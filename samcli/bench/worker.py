"""One contender in a process of its own: loads once, then answers requests, a line of JSON each.

It is told its setup on the first line, and answers with what it can do; then `{"task": ..., "image": i}` at a
time. What the tools print goes to stderr: the answers have a pipe of their own.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from samcli.bench.base import Contender
from samcli.bench.memory import own_peak, reset_peak
from samcli.bench.setup import Setup, UnsupportedError
from samcli.errors import SamcliError, one_line

Loader = Callable[[Setup], Contender]


def _load_own(setup: Setup) -> Contender:
    from samcli.bench.contenders import load_contender

    return load_contender(setup)


def main(load: Loader = _load_own) -> None:
    """Load the contender that the first line describes, and answer requests until stdin ends."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        try:
            _serve(sys.stdin, answers, load)
        except SamcliError as error:
            kind = "unsupported" if isinstance(error, UnsupportedError) else "error"
            print(json.dumps({kind: str(error)}), file=answers, flush=True)
        except Exception as error:  # whatever a tool trips over: the others go on
            reason = f"{type(error).__name__}: {one_line(error)[:300]}"
            print(json.dumps({"error": reason}), file=answers, flush=True)


def _serve(requests: IO[str], answers: IO[str], load: Loader) -> None:
    setup = Setup.from_json(requests.readline())
    served = Served(setup, load)
    print(json.dumps(served.loaded), file=answers, flush=True)
    for line in requests:
        print(json.dumps(served.answer(json.loads(line))), file=answers, flush=True)


class Served:
    """A contender, its images, and how it is measured."""

    def __init__(self, setup: Setup, load: Loader) -> None:
        start = time.perf_counter()
        import torch

        from samcli.images import read_image
        from samcli.sam.devices import compute_exactly

        if setup.threads:
            torch.set_num_threads(setup.threads)
        if setup.precision == "fp32":
            compute_exactly()
        self._torch, self._setup = torch, setup
        self._contender = load(setup)
        seconds = time.perf_counter() - start
        self._read = functools.lru_cache(maxsize=None)(read_image)
        self._profiler: Any = None
        self.loaded = {
            "tasks": list(self._contender.tasks),
            "load_seconds": seconds,
            "threads": torch.get_num_threads(),
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Seconds, CPU seconds, peak memory and number of masks; seconds by stage; or nothing after a warm-up."""
        if "warm_up" in request:
            self._contender.warm_up(self._read(self._setup.images[request["warm_up"]]))
            return {}
        if "stages" in request:
            return self._profile(request["stages"], Path(self._setup.images[request["image"]]))
        task, image = request["task"], self._read(self._setup.images[request["image"]])
        self._contender.prepare(task, image)
        self._synchronize()
        self._reset_peak()
        cpu, start = time.process_time(), time.perf_counter()
        masks = self._contender.run(task, image)
        self._synchronize()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": self._peak(), "masks": masks}

    def _profile(self, mode: str, path: Path) -> dict[str, Any]:
        if self._profiler is None:
            from samcli.bench.stages import Profiler

            self._profiler = Profiler(self._setup)
        self._reset_peak()
        begun = time.process_time()
        stages = self._profiler.run(mode, path)
        return {"stages": stages, "cpu_seconds": time.process_time() - begun, "peak_mb": self._peak()}

    @property
    def _on_gpu(self) -> bool:
        return self._setup.device.startswith("cuda")

    def _synchronize(self) -> None:
        if self._on_gpu:
            self._torch.cuda.synchronize()

    def _reset_peak(self) -> None:
        reset_peak()
        if self._on_gpu:
            self._torch.cuda.reset_peak_memory_stats()

    def _peak(self) -> float:
        """Megabytes on the GPU where the work is there, else of this process."""
        if self._on_gpu:
            return float(self._torch.cuda.max_memory_allocated()) / (1 << 20)
        return own_peak()


if __name__ == "__main__":
    main()
