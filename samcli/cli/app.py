"""The machinery of the command line: register commands, make flags of options, turn errors into exit statuses.

No numpy, no torch here: help must come up at once. What a command needs it imports when it runs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import logging
import os
import sys
import typing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from samcli import __version__
from samcli.cli.help import Command, Group
from samcli.cli.terminal import open_standard_streams, shown_safely, styled
from samcli.config import (
    C,
    CommandOptions,
    declared,
    default_of,
    flag_of,
    former_flag_of,
    resolve,
    types_of,
    variables_of,
)
from samcli.errors import SamcliError, is_out_of_memory, one_line

_EXIT_STATUS_HELP = (
    "Exit status: 0 all done, 1 could not run, 2 usage, 3 finished with failed images, 130 or 143 interrupted."
)


_LONGEST_MESSAGE = 2000
"""Characters."""


app = typer.Typer(
    name="samcli",
    help="Turn a folder of images into a segmentation data set: YOLO boxes prompt SAM, runs resume.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=_EXIT_STATUS_HELP,
)


models_app = typer.Typer(
    name="models", help="List, download, verify and inspect checkpoints.", rich_markup_mode="rich"
)


app.add_typer(models_app)
log = logging.getLogger("samcli")


_SHOWN_CHOICES = 4
"""Most choices that stand in an option's metavar."""


def main() -> None:
    """Entry point of the console script."""
    open_standard_streams()
    app()


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.yaml",
        help="YAML file with options. The command line and SAMCLI_* variables override it.",
        envvar="SAMCLI_CONFIG",
        show_default=False,
    ),
]


ClassMapFile = Annotated[
    Path | None,
    typer.Option(
        "--class-map",
        metavar="FILE",
        help="YAML mapping of class names, 'old: new'. Several old names with one new name are "
        "merged; an empty new name drops the class.",
        show_default=False,
    ),
]


Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and log details.")]


@dataclasses.dataclass(frozen=True)
class Given:
    """Options that the user gave; None: not given. `environment`: which of them SAMCLI_* variables gave."""

    values: dict[str, Any]
    environment: frozenset[str]

    def options(self, kind: type[C], config: Path | None) -> C:
        """See `resolve`."""
        return resolve(kind, self.values, config, environment=self.environment)


def command(
    name: str | None, kind: type[CommandOptions] | None = None, *, group: typer.Typer = app
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command. Options of `kind` become flags; the function gets what was given as `given`.

    `group`: of sub-commands. Without a name it is what the group does before its sub-command, or alone.

    Errors are shown in a line or two, and end the process with their exit status.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(context: typer.Context, **arguments: Any) -> None:
            flags = {entry.name for entry in declared(kind)} if kind else set()
            given = {key: arguments.pop(key) for key in flags}
            debug = arguments.pop("debug", False)
            _log_to_stderr(debug=debug, quiet=arguments.get("quiet", False))
            if wants_context:
                arguments["context"] = context
            if kind:
                sources = {key: context.get_parameter_source(key) for key in flags}
                said = frozenset(key for key, source in sources.items() if source and source.name == "ENVIRONMENT")
                arguments["given"] = Given(given, said)
            with shown_safely():
                _run(functools.partial(function, **arguments), debug=debug)

        signature = inspect.signature(function, eval_str=True).parameters
        wants_context = "context" in signature
        own = [p for p in signature.values() if p.name not in ("given", "context")]
        parameters = [*own, *(_parameters(kind) if kind else ())]
        parameters.append(
            inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug)
        )
        parameters.append(inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        del run.__wrapped__
        if name is None:
            group.callback(invoke_without_command=True, cls=Group)(run)
        else:
            group.command(name, cls=Command)(run)
        return function

    return register


def announce(*inputs: object, quiet: bool = False) -> None:
    """Show on a terminal what is being read, at once: importing what reads it can take seconds."""
    if sys.stderr.isatty() and not quiet:
        log.info("reading %s", " ".join(map(str, inputs[:3])))


def _run(function: Callable[[], None], *, debug: bool) -> None:
    """Run a command; end with the exit status of its error, shown in a line or two."""
    try:
        function()
    except BrokenPipeError as error:  # whoever read our output has seen enough
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from error
    except Exception as error:
        if debug or (message := _explain(error)) is None:
            raise
        _print_error(message)
        raise typer.Exit(getattr(error, "exit_status", 1)) from error
    except KeyboardInterrupt as error:
        print("samcli: interrupted", file=sys.stderr)
        raise typer.Exit(130) from error


def _print_error(message: str) -> None:
    """Print an error on stderr; on a terminal, unless NO_COLOR is set, its prefix is red."""
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    if coloured:
        styled(sys.stderr).write("\x1b[1;31m")
    print("samcli:", end="", file=sys.stderr)
    if coloured:
        styled(sys.stderr).write("\x1b[0m")
    print(f" {_shortened(message)}", file=sys.stderr)


def _parameters(kind: type[CommandOptions]) -> Iterator[inspect.Parameter]:
    """Yield a flag for each option: its default, help and limits as the dataclass declares them."""
    hints = types_of(kind)
    for entry in declared(kind):
        rules = entry.metadata
        hint = list[str] if rules["many"] else hints[entry.name]
        flag, default = flag_of(entry), default_of(entry)
        names = [f"{flag}/--no-{flag[2:]}"] if hint is bool else [flag]
        names += [former] if (former := former_flag_of(entry)) else []
        option = typer.Option(
            *names,
            help=_help_of(entry) + ("" if not default else rf" [dim]\[default: {default}][/]"),
            show_default=False,
            envvar=variables_of(entry),
            show_envvar=False,
            rich_help_panel=rules["panel"],
            metavar=_metavar_of(entry, hint),
        )
        yield inspect.Parameter(
            entry.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[hint | None, option],
        )


def _help_of(entry: dataclasses.Field[Any]) -> str:
    """Return the help text; choices that are too many for the metavar are listed at its end."""
    text, choices = str(entry.metadata["help"]).replace("[", r"\["), entry.metadata["choices"]
    return f"{text} One of {', '.join(choices)}." if len(choices) > _SHOWN_CHOICES else text


def _metavar_of(entry: dataclasses.Field[Any], hint: Any) -> str | None:
    """Return what stands for the value in help; of a switch that is on by default, the name that turns it off."""
    if hint is bool:
        return f"--no-{flag_of(entry)[2:]}" if entry.default is True else None
    if metavar := entry.metadata["metavar"]:
        return str(metavar)
    if choices := entry.metadata["choices"]:
        return "FORMAT" if len(choices) > _SHOWN_CHOICES else "|".join(choices)
    return "FLOAT" if float in (hint, *typing.get_args(hint)) else "N"


def _explain(error: Exception) -> str | None:
    """Return the error in a line for people; None for a bug of ours, which is shown whole."""
    if isinstance(error, SamcliError):
        return str(error)
    if is_out_of_memory(error):
        return f"the machine's memory is too small or in use by others ({one_line(error)[:200]})"
    if isinstance(error, ImportError) and ".so" in str(error):
        library = str(error).split(":")[0]
        if not library.startswith(("libGL", "libgthread", "libglib", "libX", "libxcb", "libSM", "libICE")):
            return f"a system library is missing: {one_line(error)}"
        return (
            f"the system library {library} is missing, which opencv-python needs. On Debian or Ubuntu: "
            "apt-get install libgl1 libglib2.0-0. Without root: pip uninstall opencv-python && "
            "pip install opencv-python-headless"
        )
    if type(error).__name__ == "OutOfMemoryError":
        return "the GPU's memory is too small or in use by others: try --device cpu, or a smaller --sam"
    return one_line(error) if isinstance(error, OSError) else None


def _shortened(message: str) -> str:
    """Leave out the middle of a message that quotes too much of a file: its ends say where and what to do."""
    cut = len(message) - _LONGEST_MESSAGE
    half = _LONGEST_MESSAGE // 2
    return message if cut <= 0 else f"{message[:half]} [{cut} characters left out] {message[-half:]}"


class _StderrHandler(logging.Handler):
    """Lines on stderr, above the progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        with _bars_hidden():
            print(f"samcli: {self.format(record)}", file=sys.stderr)


def _bars_hidden() -> contextlib.AbstractContextManager[object]:
    """Take progress bars off the terminal while a line is written, where there are any."""
    if "tqdm" not in sys.modules:
        return contextlib.nullcontext()
    from tqdm import tqdm

    return tqdm.external_write_mode(file=styled(sys.stderr))


def _log_to_stderr(*, debug: bool, quiet: bool) -> None:
    warnings.filterwarnings("ignore", module="PIL")  # of odd metadata; what cannot be decoded is an error
    log.handlers = [_StderrHandler()]
    log.propagate = False
    log.setLevel(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)


@app.callback(invoke_without_command=True, cls=Group)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"samcli {__version__}")
        raise typer.Exit
