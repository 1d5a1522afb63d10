"""One door to a run's folder: what it holds is this run's, and the files of all images are whole or as before."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from samcli.errors import RecordError, SamcliError, StorageError, UsageError
from samcli.output.journal import Journal
from samcli.output.layout import Layout
from samcli.output.manifest import Manifest, Product, Recipe, write_manifest
from samcli.output.records import write_record
from samcli.output.run_folder import EarlierRun, Fold, RunFolder
from samcli.types import Annotation, ImageRef, Outcome, Status

KEYS = ["a.png", "b/c.png", "d.png"]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Three images that are done, one that failed, and one of another recipe."""
    layout = Layout(tmp_path / "images", tmp_path / "labels")
    manifest = Manifest(Recipe({"command": "prompt", "format": ["coco"]}), "f" * 64, "../images", total=4)
    write_manifest(layout.manifest, manifest)
    for key in (*KEYS, "failed.png"):
        image, record = layout.input_root / key, Path(layout.record(key))
        image.parent.mkdir(parents=True, exist_ok=True)
        image.touch()
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_bytes(write_record(Annotation(key, (9, 9)), {}))
    with Journal(layout.journal, "another run") as journal:
        journal.append(Outcome(ImageRef(layout.input_root, "other.png"), Status.DONE))
    with Journal(layout.journal, manifest.run) as journal:
        for key in KEYS:
            journal.append(Outcome(ImageRef(layout.input_root, key), Status.DONE))
        journal.append(Outcome(ImageRef(layout.input_root, "failed.png"), Status.FAILED, error="torn"))
    return RunFolder.open(layout.output)


def names(annotations: Iterator[Annotation]) -> Iterable[bytes]:
    return (annotation.key.encode() + b"\n" for annotation in annotations)


def damage(run: RunFolder, key: str) -> None:
    Path(run.layout.record(key)).write_bytes(b"{")


def test_open__knows_where_the_images_are_and_what_this_run_did(run: RunFolder) -> None:
    assert run.layout.input_root == run.output.parent / "images"
    assert sorted(run.entries()) == [*KEYS, "failed.png"]
    assert run.done() == KEYS


def test_earlier__is_what_all_recipes_did_and_what_of_it_is_a_runs_own(run: RunFolder) -> None:
    earlier = EarlierRun.read(run.layout)
    assert earlier.manifest == run.manifest
    assert sorted(earlier.done) == [*KEYS, "other.png"]
    assert earlier.owned(run.manifest.run) == dict.fromkeys(KEYS, False)
    assert EarlierRun.read(Layout(run.output, run.output / "new")) == EarlierRun()


def test_open__takes_a_relative_folder(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.output)
    assert RunFolder.open(Path()) == run


@pytest.mark.parametrize(
    ("product", "words"),
    [(None, "no run in"), (Product.LABELS, "wrote labels into"), (Product.EMBEDDINGS, "holds no embeddings")],
)
def test_open__where_no_run_was_begun_says_what_was_expected(tmp_path: Path, product, words: str) -> None:
    assert RunFolder.find(tmp_path) is None
    with pytest.raises(UsageError, match=words):
        RunFolder.open(tmp_path, product)


def test_open__refuses_labels_for_embeddings_and_the_other_way_round(run: RunFolder) -> None:
    with pytest.raises(UsageError, match="holds no embeddings: give the output folder of samcli encode"):
        RunFolder.open(run.output, Product.EMBEDDINGS)
    write_manifest(
        run.layout.manifest, Manifest(Recipe({"command": "encode", "dtype": "fp16"}), "e" * 64, "../images")
    )
    with pytest.raises(UsageError, match="holds embeddings and no labels"):
        RunFolder.open(run.output, Product.LABELS)
    assert RunFolder.open(run.output, Product.EMBEDDINGS).manifest.product is Product.EMBEDDINGS


def test_record__that_is_damaged_or_gone_says_why_and_what_to_do(run: RunFolder) -> None:
    assert run.record("b/c.png").image_size == (9, 9)
    damage(run, "a.png")
    with pytest.raises(RecordError, match=r"record cannot be read \(.*a\.png\.json: .*: delete it, and run again"):
        run.record("a.png")
    Path(run.layout.record("a.png")).unlink()
    with pytest.raises(RecordError, match=r"No such file or directory\): fix this, and run again"):
        run.record("a.png")


def test_annotations__come_in_the_order_of_keys_without_images_that_are_gone(run: RunFolder) -> None:
    (run.layout.input_root / "d.png").unlink()
    damage(run, "a.png")
    failures: dict[str, str] = {}
    assert [annotation.key for annotation in run.annotations(failures)] == ["b/c.png"]
    assert list(failures) == ["a.png"]


def test_finish__writes_every_file_and_removes_the_mark(run: RunFolder) -> None:
    run.mark_unfinished()
    assert run.is_unfinished
    assert run.finish([Fold("one", names), Fold("two", names)]) == {}
    assert (run.output / "one").read_text().split() == (run.output / "two").read_text().split() == KEYS
    assert not run.is_unfinished


def test_finish__with_records_that_cannot_be_read_keeps_the_old_file_and_the_mark(run: RunFolder) -> None:
    run.finish([Fold("all", names)])
    old = (run.output / "all").read_bytes()
    run.mark_unfinished()
    damage(run, "a.png")
    damage(run, "d.png")
    assert list(run.finish([Fold("all", names)])) == ["a.png", "d.png"]
    assert (run.output / "all").read_bytes() == old
    assert run.is_unfinished
    assert sorted(os.listdir(run.output)) == [".samcli", "all"]  # noqa: PTH208 - no temporary file


@pytest.mark.parametrize("survive", [0, 1])
def test_finish__that_is_interrupted_keeps_the_mark(run: RunFolder, survive: int) -> None:
    def interrupted(annotations: Iterator[Annotation]) -> Iterator[bytes]:
        for _ in range(survive):
            yield next(annotations).key.encode()
        raise KeyboardInterrupt

    run.mark_unfinished()
    with pytest.raises(KeyboardInterrupt):
        run.finish([Fold("one", names), Fold("two", interrupted)])
    assert run.is_unfinished
    assert sorted(os.listdir(run.output)) == [".samcli", "one"]  # noqa: PTH208


def test_mark__that_cannot_be_set_ends_the_run(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        run.mark_unfinished()
    assert not run.is_unfinished


def test_withdraw__removes_only_what_a_record_says_is_ours(run: RunFolder) -> None:
    labels = [run.output / f"{name}.txt" for name in ("a", "foreign")]
    for path in labels:
        path.touch()
    run.withdraw("a.png", [str(labels[0])])
    run.withdraw("foreign.png", [str(labels[1])])
    assert [path.exists() for path in labels] == [False, True]
    assert not Path(run.layout.record("a.png")).exists()


def test_open__finds_the_only_run_below_a_data_set_or_of_an_image_folder(run: RunFolder, tmp_path: Path) -> None:
    for folder in (tmp_path, run.layout.input_root):
        assert RunFolder.open(folder) == run
    assert RunFolder.find(tmp_path) is None, "what writes must be given the folder itself"
    write_manifest(Layout(tmp_path, tmp_path / "masks").manifest, run.manifest)
    with pytest.raises(UsageError, match=f"several runs: give one of {run.output}, {tmp_path / 'masks'}"):
        RunFolder.open(tmp_path)


def test_record__below_a_link_is_neither_read_nor_removed(run: RunFolder, tmp_path: Path) -> None:
    """A forged folder of records could lead to somebody's files of the same names."""
    records = run.layout.run_folder / "records"
    (records / "b").rename(tmp_path / "elsewhere")
    (records / "b").symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere" / "c.png.json").read_bytes()
    for use in (lambda: run.record("b/c.png"), lambda: run.withdraw("b/c.png", [])):
        with pytest.raises(SamcliError, match="it is a symbolic link"):
            use()
    assert (tmp_path / "elsewhere" / "c.png.json").read_bytes() == before
    assert run.record("a.png").key == "a.png"
