"""Help screens: their layout in narrow terminals; the vocabulary of help texts and docstrings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_architecture import COMMANDS
from typer.testing import CliRunner

import samcli
from samcli.cli import app
from samcli.config import COMMANDS as OPTIONS
from samcli.config import declared, flag_of

PACKAGE = Path(samcli.__file__).parent

VAGUE = (
    "so many", "the same, the same", "least ", "most ", "surer", "surest", "hold ", "held ", "shares", "clicks",
    "anew", "mend", "stumble", "go before", "speak", "what is right", "are one", "of those", "doubtful", "peers",
)  # fmt: skip
"""Words that are not the field's terms. `least` and `most` alone stood for minimum and maximum."""

ALLOWED = ("at least ", "at most ", "threshold ")

TERMS = {
    "--conf": "Confidence threshold",
    "--iou": "NMS IoU threshold",
    "--max-det": "Maximum number of",
    "--imgsz": "Input size in pixels|Detector input size in pixels",
    "--batch": "Batch size",
    "--precision": "Inference precision",
    "--box-nms-thresh": "NMS IoU threshold",
    "--crop-nms-thresh": "NMS IoU threshold",
    "--class-agnostic": "Ignore class labels",
    "--seed": "Random seed",
    "--points-per-side": "Points per side",
    "--truth": "Ground-truth annotations",
}
"""How the help text of an option begins, wherever a command has one of this name."""


def help_of(command: str, columns: int = 100) -> str:
    result = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0
    return result.output


def texts_of(command: str) -> dict[str, str]:
    """Help texts by flag, each in one line."""
    found: dict[str, str] = {}
    for line in help_of(command).splitlines():
        if match := re.match(r"  (?:-\w, )?(--[a-z-]+)[^ ]*(?: [^ ]+)?(?: +(.*))?$", line):
            found[flag := match[1]] = (match[2] or "").strip()
        elif line.startswith("    ") and found:
            found[flag] = f"{found[flag]} {line.strip()}".strip()
    return found


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help__fits_the_terminal_and_breaks_no_word(command: str, columns: int) -> None:
    lines = help_of(command, columns).splitlines()
    assert max(map(len, lines)) <= columns
    words = set(help_of(command, 100).split())
    broken = {word for line in lines for word in line.split()} - words
    assert not {word for word in broken if "," not in word}, "only lists of numbers may be cut"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help__shows_no_type_of_a_switch_and_no_braces(command: str) -> None:
    text = help_of(command)
    assert not re.search(r"<\w+>|VALUE|\{\w+\}", text)


def test_usage__has_arguments_in_capitals() -> None:
    assert help_of("status").splitlines()[0].endswith("status [OPTIONS] OUTPUT")
    assert help_of("auto-annotate").splitlines()[0].endswith("auto-annotate [OPTIONS] [DATA...]")
    error = CliRunner().invoke(app, ["status"])
    assert "status [OPTIONS] OUTPUT" in error.output
    assert error.exit_code == 2


def test_help__shows_the_name_that_turns_off_what_is_on() -> None:
    text = help_of("auto-annotate")
    assert "--resume, --no-resume" in text
    assert "--no-overwrite" not in text


def test_many_choices__are_listed_in_the_text() -> None:
    assert texts_of("convert")["--to"].startswith("Format to write; may be repeated. One of yolo, yolo-box, coco,")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_words__are_those_of_the_field(command: str) -> None:
    text = " ".join(help_of(command).split()).lower()
    for allowed in ALLOWED:
        text = text.replace(allowed, "")
    assert [word for word in VAGUE if word in text] == []
    assert not re.search(r"[^\w.]\.\d", text), "numbers are written 0.95"


@pytest.mark.parametrize("command", COMMANDS)
def test_terms__begin_the_help_of_their_options(command: str) -> None:
    for flag, text in texts_of(command).items():
        if flag in TERMS and "to try" not in text:
            assert re.match(TERMS[flag], text), f"{command} {flag}: {text}"


@pytest.mark.parametrize("command", OPTIONS)
def test_options__are_sentences(command: str) -> None:
    entry: Any
    for entry in declared(OPTIONS[command]):
        text = entry.metadata["help"]
        assert text[0].isupper() or text.startswith(("data.yaml", "amg.py")), flag_of(entry)
        assert text.endswith("."), flag_of(entry)


def docstrings() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each docstring in the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node)
                if text:
                    yield f"{path.relative_to(PACKAGE)}:{getattr(node, 'name', 'module')}", " ".join(text.split())


def test_docstrings__begin_with_a_verb_or_a_noun_of_the_field() -> None:
    openings = ("Whether ", "Of ", "What ", "How ", "Where ", "Who ", "Which ", "When ", "As ")
    assert [f"{place}: {text[:60]}" for place, text in docstrings() if text.startswith(openings)] == []


def test_docstrings__write_numbers_with_their_zero() -> None:
    assert [f"{place}: {text}" for place, text in docstrings() if re.search(r"(?<![\w.)\]`*])\.\d", text)] == []


ALLUSIONS = (
    "overlap more are one", "Least detector score", "ask again with the mask itself", "as simple as this IoU",
    "Hold labels against", "How often all take their turn", "Clicks a side", "Another seed, another split",
    "Who chooses first", "as torch likes", "Write a twin", "Hash checkpoints anew", "time at work",
    "whatever its name says", "pixels, not shares", "were not held against", "nothing to learn them by",
    "nothing to judge them by", "lose their scores and figures", "numbers stand for class names",
    "label name taken", "finishing what is in flight", "how well they fit", "Never a wrong class",
    "Labels that are proven", "begin anew", "rules out is never upsampled", "For those who change it",
    "nobody has spoken of", "What asks for an object", "What is in none of the tables", "is partly luck",
    "held against the exact one", "mends ", "mended", "speaks of", "speak of", "images a second",
)  # fmt: skip
"""What a newcomer has stumbled over: kept out of code and docs. docs/development.md quotes some as examples."""


def pages() -> Iterator[Path]:
    root = PACKAGE.parent
    quoting = {"development.md", "options.md"}
    yield from (page for page in (root / "docs").glob("*.md") if page.name not in quoting)
    yield from (
        page for page in (root / "README.md", root / "tests" / "benchmarks" / "README.md") if page.is_file()
    )


def test_allusions__are_kept_out_of_code_and_docs() -> None:
    found = [
        f"{path.name}: {phrase}"
        for path in (*PACKAGE.rglob("*.py"), *pages())
        for text in [path.read_text(encoding="utf-8")]
        for phrase in ALLUSIONS
        if re.search(rf"\b{re.escape(phrase)}", text)
    ]
    assert found == []


def test_docs__write_numbers_with_their_zero_and_a_space_before_the_per_cent_sign() -> None:
    for page in pages():
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            assert not re.search(r"(?<![\w.)\]`*/-])\.\d", line), f"{page.name}:{number}: {line}"
            assert not re.search(r"\d%(?![|\w])", line), f"{page.name}:{number}: {line}"


def test_messages_of_findings__are_in_the_field_s_terms() -> None:
    from samcli.datasets.verify import KINDS
    from samcli.labels.formats.losses import SENTENCES

    for text in (*(kind.meaning for kind in KINDS.values()), *SENTENCES.values()):
        assert not re.search(r"\b(is no \w+|mend|what it|takes? it|goes on)\b", text), text
