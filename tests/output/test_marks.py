"""Marks survive a run that was killed, and nothing else."""

from __future__ import annotations

import pytest

from samcli.output.marks import LargeMarks


def test_mark__counts_the_runs_that_were_killed_at_work_on_an_image(tmp_path) -> None:
    path = tmp_path / "run" / "large.json"
    for killed in (1, 2):
        marks = LargeMarks(path)
        marks.begin("a.jpg")
        marks.begin("a.jpg")  # a second try in the same run
        assert LargeMarks(path).tries == {"a.jpg": killed}
    marks.end("a.jpg")
    assert LargeMarks(path).tries == {}
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"a": "x", "b": -1, "c": true, "d": 1e9}', "[" * 100_000, "\xff"])
def test_damaged_marks__say_nothing(tmp_path, text) -> None:
    (tmp_path / "large.json").write_text(text, encoding="latin-1")
    assert LargeMarks(tmp_path / "large.json").tries == {}
