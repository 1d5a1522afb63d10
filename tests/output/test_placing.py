"""Label files lie where trainers look or aside, never in both."""

from __future__ import annotations

from pathlib import Path

import pytest

from samcli.output.journal import Journal
from samcli.output.layout import Layout, Presence, assign_labels
from samcli.output.manifest import Manifest, Recipe, write_manifest
from samcli.output.placing import LabelJournal, write_label
from samcli.output.run_folder import RunFolder
from samcli.types import ImageRef, Outcome, Status, Withheld


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "images", tmp_path / "labels")


@pytest.mark.parametrize(
    ("first", "second"), [(b"old", b"new"), ({"0.png": b"old", "1.png": b""}, {"0.png": b"new"})]
)
@pytest.mark.parametrize("aside", [True, False])
def test_label__lies_in_one_place_with_its_new_content(layout, aside, first, second) -> None:
    label = layout.label("a/1.jpg", ".txt" if isinstance(first, bytes) else "")
    write_label(layout, label, first, aside=not aside)
    write_label(layout, label, second, aside=aside)
    here, there = Path(label), Path(layout.aside(label))
    there, here = (here, there) if aside else (there, here)
    assert not there.exists()
    content = here.read_bytes() if here.is_file() else {file.name: file.read_bytes() for file in here.iterdir()}
    assert content == second


def test_label_in_both_places__is_left_in_one(layout) -> None:
    """As somebody may have copied it back by hand."""
    label = layout.label("1.jpg", ".txt")
    write_label(layout, label, b"kept", aside=True)
    Path(label).write_bytes(b"by hand")
    write_label(layout, label, b"new", aside=True)
    assert not Path(label).exists()
    assert Path(layout.aside(label)).read_bytes() == b"new"


def withheld_run(layout: Layout, *outcomes: tuple[str, Withheld | None]) -> RunFolder:
    run = RunFolder(layout, Manifest(Recipe({"format": ["yolo"]}), "f" * 64, "../images"))
    write_manifest(layout.manifest, run.manifest)
    with Journal(layout.journal, run.manifest.run) as journal:
        for key, why in outcomes:
            journal.append(Outcome(ImageRef(layout.input_root, key), Status.DONE, {}, withheld=why))
            Path(layout.record(key)).parent.mkdir(parents=True, exist_ok=True)
            Path(layout.record(key)).write_bytes(b"{}")
            write_label(layout, layout.label(key, ".txt"), b"", aside=why is not None)
    return run


def test_withheld__names_images_below_the_folder_that_was_asked_for(layout) -> None:
    withheld_run(layout, ("a/1.jpg", Withheld.INCOMPLETE), ("a/2.jpg", None), ("b/3.jpg", Withheld.EXCLUDED))
    whole = LabelJournal.of(layout.output).withheld()
    assert {key: one.why for key, one in whole.items()} == {
        "a/1.jpg": Withheld.INCOMPLETE, "b/3.jpg": Withheld.EXCLUDED,
    }  # fmt: skip
    below = LabelJournal.of(layout.output / "a").withheld()
    assert {key: one.label for key, one in below.items()} == {
        "1.jpg": Path(layout.aside(layout.label("a/1.jpg", ".txt")))
    }


def test_withheld__of_labels_from_elsewhere_is_empty(tmp_path: Path) -> None:
    assert LabelJournal.of(tmp_path).withheld() == {}


def test_presence__knows_both_places(layout) -> None:
    withheld_run(layout, ("a/1.jpg", Withheld.INCOMPLETE), ("a/2.jpg", None))
    refs = [ImageRef(layout.input_root, f"a/{number}.jpg") for number in (1, 2, 3)]
    present = Presence(assign_labels(layout, refs, (".txt",), "fail"))
    assert [present.has_all(ref.key) for ref in refs] == [True, True, False]


def test_withdraw__removes_what_is_kept_aside_too(layout) -> None:
    run = withheld_run(layout, ("a/1.jpg", Withheld.INCOMPLETE))
    label = layout.label("a/1.jpg", ".txt")
    run.withdraw("a/1.jpg", [label])
    assert not Path(layout.aside(label)).exists()
    assert not Path(layout.record("a/1.jpg")).exists()
