"""Show checkpoints: the known ones, what is in one, and what became of checks and exports."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from samcli.cli.report.text import SHOWN_CLASSES, printable
from samcli.cli.terminal import open_console
from samcli.models import KnownModel, ModelFacts, Verdict

if TYPE_CHECKING:
    from samcli.sam.onnx_export import ExportedFile


_GROUPS: dict[str, Callable[[KnownModel], bool]] = {
    "SAM: masks from boxes, points or everything (--sam)": lambda model: model.role == "sam" and not model.on_hub,
    "FastSAM: a detector of everything, in one class (--sam, --det)": lambda model: model.role == "fastsam",
    "Detectors (--det)": lambda model: model.role == "det" and not (model.on_hub or model.publisher == "PyTorch"),
    "Detectors of torchvision (--det)": lambda model: model.publisher == "PyTorch",
    "Detectors that read text (--det with --text)": lambda model: model.role == "text",
    "Folders of the Hugging Face hub (--det, --sam)": lambda model: model.role != "text" and model.on_hub,
}
"""Titles, and which models stand below each."""


_Column = tuple[int, int, Literal["left", "right"], Callable[[KnownModel], str]]


_COLUMNS: dict[str, _Column] = {
    "MB": (0, 5, "right", lambda model: _number(model.megabytes)),
    "M params": (48, 8, "right", lambda model: _number(model.parameters)),
    "here": (38, 4, "left", lambda model: "here" if model.here else ""),
    "licence": (67, 17, "left", lambda model: model.licence),
    "from": (80, 11, "left", lambda model: model.publisher),
}
"""Of the list of models: the narrowest terminal that has room for it, its width, its side, its text."""

_NAME_WIDTH = 26
"""Characters of a name beside which the columns have that room."""


def print_models(models: Sequence[KnownModel], *, as_json: bool) -> None:
    """The known checkpoints in groups; on a narrow terminal without the columns that matter least."""
    if as_json:
        print(json.dumps([asdict(model) for model in models]))
        return
    from rich.table import Table

    console = open_console(highlight=False)
    for title, belongs in _GROUPS.items():
        members = [model for model in models if belongs(model)]
        longest = max((len(model.name) for model in members), default=0)
        room = console.width - max(0, longest - _NAME_WIDTH)
        shown = {name: column for name, column in _COLUMNS.items() if room >= column[0]}
        console.print(title, style="bold")
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        fits = longest <= console.width
        table.add_column("name", no_wrap=fits, min_width=longest if fits else None, overflow="fold")
        for name, (_, width, justify, _) in shown.items():
            table.add_column(name, no_wrap=True, justify=justify, min_width=width)
        for model in members:
            style = "green" if model.here else ""
            table.add_row(model.name, *(show(model) for *_, show in shown.values()), style=style)
        console.print(table)
        console.print()
    console.print("M params: millions, of the whole file. -: not known for sure.", soft_wrap=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def print_verdicts(verdicts: Sequence[Verdict], *, as_json: bool) -> None:
    """Print the verdict on each checked file."""
    if as_json:
        print(json.dumps([asdict(verdict) for verdict in verdicts]))
        return
    for verdict in verdicts:
        print(f"{verdict.state:<8}{verdict.name}: {printable(verdict.path)} ({verdict.reason})")


def print_paths(paths: Sequence[Path], *, as_json: bool) -> None:
    """Files, one a line."""
    if as_json:
        print(json.dumps([str(path) for path in paths]))
        return
    for path in paths:
        print(path)


def print_facts(models: Sequence[ModelFacts], *, as_json: bool) -> None:
    """Print the contents of checkpoints."""
    if as_json:
        print(json.dumps([asdict(model) for model in models]))
        return
    for index, model in enumerate(models):
        if index:
            print()
        rows = _fact_rows(model)
        width = max(map(len, rows))
        for name, value in rows.items():
            print(f"{name:<{width}}  {value}")  # no table: it would cut a hash short
        for note in model.notes:
            print(f"{'note':<{width}}  {printable(note)}")


def _fact_rows(model: ModelFacts) -> dict[str, str]:
    files = f" in {model.files} files" if model.files > 1 else ""
    classes = ", ".join(printable(name) for name in list(model.classes.values())[:SHOWN_CLASSES])
    more = ", ..." if len(model.classes) > SHOWN_CLASSES else ""
    rows = {
        "file": printable(model.path),
        "known as": model.known_as or "no known checkpoint",
        "family": printable(model.family) if model.family else "not known",
        "image size": f"{model.image_size} px" if model.image_size else None,
        "parameters": f"{model.parameters:,}" if model.parameters else None,
        "tensors": f"{model.tensors:,}" if model.tensors else None,
        "dtype": ", ".join(f"{count} {name}" for name, count in model.dtypes.items()),
        "classes": f"{len(model.classes)}: {classes}{more}" if model.classes else None,
        **{key: printable(str(value)) for key, value in model.details.items()},
        "size": f"{model.bytes / 1e6:,.2f} MB ({model.bytes:,} bytes{files})",
        "SHA-256": model.sha256,
    }
    return {key: value for key, value in rows.items() if value}


def print_exported(files: Sequence[ExportedFile], *, as_json: bool) -> None:
    """Print the files that were written and the difference between onnxruntime's and torch's answers."""
    if as_json:
        facts = [{"file": str(f.path), "bytes": f.bytes, **dataclasses.asdict(f.agreement)} for f in files]
        print(json.dumps(facts))
        return
    for file in files:
        near = f"differs from torch by at most {file.agreement.max_difference:.1e}"
        if file.agreement.mask_iou is not None:
            near += f", mask IoU {file.agreement.mask_iou:.5f}"
        print(f"{printable(str(file.path))}  {file.bytes / 1e6:.1f} MB  {near}")
