"""Write docs/options.md from the option dataclasses: python docs/make_options.py"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from samcli.config import COMMANDS, CommandOptions, declared, default_of, flag_of, variables_of

INTRODUCTION = """# Options

Made by `python docs/make_options.py` from the dataclasses in `samcli/config`, where each default lives once.

Precedence: command line, then environment (`SAMCLI_` and the option's name, e.g. `SAMCLI_CONF=0.3`), then
`--config FILE.yaml` (the names below without the dashes in front), then the default. An unknown name is an
error that suggests the most similar known name. Inputs and outputs, and the options of the next paragraph, can
only be given on the command line (except `--config`: `SAMCLI_CONFIG`). `SAMCLI_CACHE` is the folder of downloaded
checkpoints (`samcli checks` shows it). Options marked *recipe* change what is written; a run continues only with
the same values.

Every command but `review` also has `--json` (the result as one JSON document on stdout), `--debug` (tracebacks) and
`--help`. `auto-annotate`, `prompt`, `everything` and `encode` have `--input/-i` and `--output/-o`, `--config`,
`--dry-run` and `--quiet/-q`; `convert` and `export-onnx` have
`--output/-o`, `--config` and `--quiet/-q`, `convert` also `--dry-run`; `tune` and `bench` have `--output/-o`,
`--config` and `--quiet/-q`; `verify`, `eval` and `dataset` have `--config`;
`models fetch` has `--quiet/-q`; `take-back` has `--discard-human`; `review` has `--config` and `--quiet/-q`;
`status` has `--failures` (every failed image and why), `--incomplete` (images that trainers do not get) and
`--reasons` (why images failed and objects were dropped, counted), `preview` has `--output/-o` (the file to
write), `--count/-n` (how many photos), `--html` (a page to review the masks, see [review.md](review.md), with
`--embed` to put small photos into it); `samcli models` and `samcli models list` are the same;
`samcli --version` prints the version.
"""


def table(kind: type[CommandOptions]) -> str:
    """Markdown tables, one for each group of options."""
    groups: dict[str, list[str]] = {}
    for entry in declared(kind):
        groups.setdefault(entry.metadata["panel"], []).append(row(entry))
    head = "| option | default | what it does |\n| --- | --- | --- |\n"
    return "\n".join(f"### {name}\n\n{head}" + "".join(rows) for name, rows in groups.items())


def row(entry: dataclasses.Field[object]) -> str:
    """One option as a row."""
    shown = f"`{default}`" if (default := default_of(entry)) else ""
    if isinstance(entry.default, bool):
        shown = "yes" if entry.default else "no"
    choices = f" ({', '.join(entry.metadata['choices'])})" if entry.metadata["choices"] else ""
    text = entry.metadata["help"].replace("|", "\\|")
    variable = f" Environment: `{variables_of(entry)[0]}`." if entry.metadata["variable"] else ""
    recipe = " *recipe*" if entry.metadata["recipe"] else ""
    return f"| `{flag_of(entry)}` | {shown} | {text}{choices}{variable}{recipe} |\n"


def text() -> str:
    """The whole page."""
    sections = [f"## samcli {name}\n\n{table(kind)}" for name, kind in COMMANDS.items()]
    return "\n".join([INTRODUCTION, *sections])


if __name__ == "__main__":
    Path(__file__).with_name("options.md").write_text(text(), encoding="utf-8")
