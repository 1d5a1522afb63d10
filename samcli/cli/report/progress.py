"""Progress on stderr: a bar on a terminal, a line every so often elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from samcli.cli.report.text import counted, duration
from samcli.cli.terminal import styled
from samcli.jobs.plan import Plan
from samcli.types import Outcome, Status

if TYPE_CHECKING:
    from tqdm import tqdm


LINE_EVERY = 10.0
"""Seconds between lines of progress where there is no terminal."""


class Progress:
    """One bar on a terminal; a line every so often elsewhere; nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._counts: Counter[str] = Counter()
        self._total = 0
        self._bar: tqdm[Any] | None = None
        self._start = self._last = 0.0
        self._lock = threading.Lock()

    def start(self, plan: Plan) -> Callable[[Outcome], None]:
        """Begin to count the images of a plan."""
        self._total = len(plan.todo)
        self._start = self._last = time.monotonic()
        if sys.stderr.isatty() and not self._quiet:
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._total, file=styled(sys.stderr), unit=" img", dynamic_ncols=True, smoothing=0.1,
                bar_format="{n_fmt}/{total_fmt} |{bar}| {rate_noinv_fmt}, {remaining} left{postfix}",
            )  # fmt: skip
        return self.update

    def update(self, outcome: Outcome) -> None:
        """Show one more outcome, whichever thread it comes from."""
        with self._lock:
            self._show(outcome)

    def _show(self, outcome: Outcome) -> None:
        self._counts["images"] += 1
        self._counts["instances"] += outcome.instance_count
        self._counts["failed"] += outcome.status is Status.FAILED
        if self._bar is not None:
            counts = f"{self._counts['instances']} objects, {self._counts['failed']} failed"
            self._bar.set_postfix_str(counts, refresh=False)
            self._bar.update()
        elif not self._quiet and time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            print(self._line(), file=sys.stderr, flush=True)

    def _line(self) -> str:
        count, seconds = self._counts["images"], time.monotonic() - self._start
        left = (self._total - count) * seconds / count
        return (
            f"{count}/{self._total} images, {count / seconds:.2f} img/s, {self._counts['instances']} objects, "
            f"{self._counts['failed']} failed, {duration(left)} left"
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()


class ImageCounter:
    """Images done where nobody knows how many there are: one line on a terminal, else one every so often."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: tqdm[Any] | None = None
        self._last = time.monotonic()

    def update(self, count: int) -> None:
        """Show how many are done."""
        if self._quiet:
            return
        if sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(unit="img", file=styled(sys.stderr), dynamic_ncols=True)
            self._bar.update(count - self._bar.n)
        elif time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            print(f"{counted(count, 'image')}", file=sys.stderr, flush=True)

    def __enter__(self) -> ImageCounter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()


class DownloadProgress:
    """A bar on a terminal; a line every so often elsewhere; nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: tqdm[Any] | None = None
        self._last = time.monotonic()

    def start(self, name: str) -> Callable[[int, int | None], None]:
        """Begin to show the download of one file."""
        self.close()

        def watch(done: int, total: int | None) -> None:
            if self._quiet:
                return
            if sys.stderr.isatty():
                if self._bar is None:
                    from tqdm import tqdm

                    self._bar = tqdm(
                        total=total, desc=name, file=styled(sys.stderr), unit="B", unit_scale=True,
                        dynamic_ncols=True,
                    )  # fmt: skip
                self._bar.update(done - self._bar.n)
            elif time.monotonic() - self._last >= LINE_EVERY:
                self._last = time.monotonic()
                of = f" of {total / 1e6:.1f}" if total else ""
                print(f"{name}: {done / 1e6:.1f}{of} MB", file=sys.stderr, flush=True)

        return watch

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> DownloadProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
