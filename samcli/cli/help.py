"""Lay out help screens: one option per entry, readable from 60 columns on.

Typer's own tables show `<bool>` for switches and break long words in narrow terminals.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

from samcli.cli.terminal import open_console
from samcli.config import former_flags

if TYPE_CHECKING:
    from rich.console import RenderableType

_WIDEST = 100
"""Columns: longer lines are harder to read."""

_NAMES = 28
"""Columns for the names of options on a wide terminal; longer names have a line of their own."""


class Command(TyperCommand):
    """A command whose help and usage are laid out by this module."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help screen."""
        _print_help(self, ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line after the command's name."""
        return _usage(self)


class Group(TyperGroup):
    """A group of commands whose help and usage are laid out by this module."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help screen."""
        _print_help(self, ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line after the group's name."""
        return [*_usage(self), "COMMAND [ARGS]..."]


def _usage(command: Any) -> list[str]:
    return ["[OPTIONS]", *(_argument(param) for param in command.params if param.param_type_name == "argument")]


def _argument(param: Any) -> str:
    """Return an argument as the usage line shows it: `NAME`, or `[NAME]` where it may be left out."""
    name = param.metavar or param.name.upper()
    return name if param.required or name.startswith("[") else f"[{name}]"


def _print_help(command: Any, ctx: Any) -> None:
    from rich.text import Text

    width = min(shutil.get_terminal_size().columns, _WIDEST)
    console = open_console(width=width, highlight=False)
    console.print(
        Text.assemble(("Usage: ", "bold"), " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)]))
    )
    if command.help:
        console.print()
        console.print(Text(" ".join(command.help.split())))
    for title, rows in _sections(command, ctx).items():
        console.print()
        console.print(Text(title, style="bold"))
        for names, text in rows:
            for line in _entry(names, text, width):
                console.print(line)
    if command.epilog:
        console.print()
        console.print(Text(command.epilog, style="dim"))


def _sections(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """Return names and help texts by section, in the order in which they were declared."""
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for param in command.get_params(ctx):
        if getattr(param, "hidden", False):
            continue
        if param.param_type_name == "argument":
            title, names = "Arguments", (param.metavar or param.name.upper()).strip("[]")
        else:
            title, names = getattr(param, "rich_help_panel", None) or "Options", _names(param)
        required = r" [dim]\[required][/]" if param.required and param.param_type_name == "option" else ""
        sections.setdefault(title, []).append((names, (getattr(param, "help", None) or "") + required))
    if isinstance(command, TyperGroup):
        listed = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
        sections["Commands"] = [(name, _first_sentence(one.help)) for name, one in listed if one and not one.hidden]
    return {title: rows for title, rows in sections.items() if rows}


def _first_sentence(text: str | None) -> str:
    sentence, _, _ = " ".join((text or "").split()).partition(". ")
    return sentence.rstrip(".") + "."


def _names(param: Any) -> str:
    """Return an option's names as they are typed, with what follows them; switches are followed by nothing."""
    short = [name for name in param.opts if not name.startswith("--")]
    names = [*short, *(name for name in param.opts if name.startswith("--") and name not in former_flags())]
    if getattr(param, "is_flag", False):
        return ", ".join([*names, *([param.metavar] if param.metavar else [])])
    return f"{', '.join(names)} {param.metavar or 'VALUE'}"


def _entry(names: str, text: str, width: int) -> Iterator[RenderableType]:
    """Yield an option's names and, beside or below them, its help text."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    left = min(_NAMES, width // 3)
    label, body = Text(names, style="cyan"), Text.from_markup(text)
    if len(names) > left - 2:
        yield Padding(label, (0, 0, 0, 2))
        yield Padding(body, (0, 0, 0, left + 2))
        return
    grid = Table.grid(padding=0)
    grid.add_column(width=2)
    grid.add_column(width=left)
    grid.add_column(width=width - left - 2)
    grid.add_row("", label, body)
    yield grid
