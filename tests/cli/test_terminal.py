"""Text from outside cannot steer a terminal, and a terminal that is gone does not stop the work."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from samcli.cli.terminal import open_console, printable, shown_safely, styled

EVIL = "\x1b]0;owned\x07\x1b[2J\u202egpj\x9b31m\udcff"
SHAPES = Path(__file__).parents[2] / "examples" / "shapes"


def test_printable__keeps_text_and_escapes_what_steers() -> None:
    assert printable("größe 100 % 猫") == "größe 100 % 猫"
    shown = printable(EVIL + "\n")
    assert shown.isprintable()
    assert "\\x1b]0;owned\\x07" in shown
    assert "\\u202e" in shown
    assert shown.endswith("\\n")


def test_output__is_escaped_whoever_prints_it(capsys) -> None:
    with shown_safely():
        print(EVIL)
        print(EVIL, file=sys.stderr)
        open_console().print(EVIL, markup=False)
        open_console(stderr=True).print(EVIL, markup=False)
    for text in capsys.readouterr():
        assert text.count("\\x1b[2J") == 2
        assert text.replace("\n", "").isprintable()


def test_console__keeps_its_own_styles() -> None:
    stream = io.StringIO()
    console = open_console(force_terminal=True, color_system="standard")
    console.file = stream
    console.print("[red]failed[/] ok")
    assert stream.getvalue() == "\x1b[31mfailed\x1b[0m ok\n"


def test_error_stream__that_fails_drops_the_text(monkeypatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    for stream in (Full(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        with shown_safely():
            print("progress", file=sys.stderr, flush=True)
            print("progress", file=styled(sys.stderr))
            assert not sys.stderr.isatty()


def test_result_stream__that_fails_is_an_error(monkeypatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError, match="No space"), shown_safely():
        print("result")


def command(folder: Path, redirection: str) -> subprocess.CompletedProcess[str]:
    """A run with its standard error redirected by the shell; progress is written after every image."""
    program = "import samcli.cli.report.progress as p; p.LINE_EVERY = 0; from samcli.cli import main; main()"
    arguments = f"auto-annotate {folder}/images --det tiny --sam tiny --json"
    line = f"exec {sys.executable} -c '{program}' {arguments} {redirection}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(["bash", "-c", line], env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "2> >(head -c 1 >/dev/null)", "0<&- 2>&-"])
def test_run__does_its_work_whatever_became_of_stderr(tmp_path, redirection) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("beads.jpg", "grey.jpg", "poster.png"):
        (images / name).write_bytes((SHAPES / name).read_bytes())
    done = command(tmp_path, redirection)
    assert done.returncode == 0
    assert json.loads(done.stdout)["done"] == 3
    for line in (tmp_path / "labels" / ".samcli" / "journal.jsonl").read_text().splitlines():
        assert json.loads(line)["status"] == "done"
