"""What the benchmarks are told on their command lines: the options of `samcli bench`, and a few more."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from samcli.config import BenchOptions, declared, default_of, flag_of, option, types_of
from samcli.errors import SamcliError
from samcli.files import check_writable, write_atomic
from samcli.plots import check_plot


@dataclass(frozen=True)
class Settings(BenchOptions):
    """The options of `samcli bench`, and how much of a benchmark is run."""

    only: str | None = option(None, "Measure these curves, rows or peers only.", metavar="NAME,...")
    extent: float = option(1.0, "Run the long measurements to this fraction of their length.", low=0.0001, high=1)


@dataclass
class Call:
    """A benchmark's command line. `output`: JSON file for the figures. `chart`: PNG, SVG or PDF to draw."""

    images: Path | None = None
    settings: Settings = field(default_factory=Settings)
    output: Path | None = None
    chart: Path | None = None

    def keep(self, figures: dict[str, Any]) -> None:
        """Write the figures to the output file, if there is one; called again after each part of a long run."""
        if self.output:
            write_atomic(self.output, json.dumps(figures, indent=1).encode() + b"\n")

    def watch(self, line: str) -> None:
        """Show what is being measured."""
        print(line, file=sys.stderr, flush=True)


def read_call(description: str | None, arguments: Sequence[str] | None = None) -> Call:
    """Parse a benchmark's command line. Exits with status 2 if a value does not fit."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="?", type=Path, help="image or folder; default: drawn pictures")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="also write all figures as JSON")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="also draw a chart: .png, .svg or .pdf")
    types = types_of(Settings)
    for entry in declared(Settings):
        kind = next((one for one in get_args(types[entry.name]) if one is not type(None)), types[entry.name])
        rules: dict[str, Any] = {"action": "store_true"} if kind is bool else {"type": kind}
        shown = f" [default: {default}]" if (default := default_of(entry)) else ""
        text = (entry.metadata["help"] + shown).replace("%", "%%")
        parser.add_argument(flag_of(entry), dest=entry.name, help=text, default=None, **rules)
    given = vars(parser.parse_args(arguments))
    call = Call(given.pop("images"), output=given.pop("output"), chart=given.pop("chart"))
    try:
        call.settings = Settings.of(**{name: value for name, value in given.items() if value is not None})
        if call.output:
            check_writable(call.output)
        if call.chart:
            check_plot(call.chart, "--chart")
    except SamcliError as error:
        parser.error(str(error))
    return call
