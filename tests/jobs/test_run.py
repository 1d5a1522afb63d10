"""What all commands share in a run: nobody's files are lost, and nothing written is stale."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from PIL import Image as PillowImage

import samcli.images
import samcli.jobs.run as running
from samcli.errors import ImageError, UsageError
from samcli.jobs.auto_annotate import AutoAnnotate
from samcli.jobs.prompt import Prompt
from samcli.jobs.worker import AnnotatedImage, Worker
from samcli.output import run_folder
from samcli.output.layout import Layout
from samcli.output.locks import locked
from samcli.types import ImageRef, Outcome

SHAPES = Path(__file__).parents[2] / "examples" / "shapes"
TINY = ("--sam", "tiny", "--precision", "fp32")
BOX = ("--box", "10,10,90,80")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """`data/images` with two small scenes."""
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    with PillowImage.open(SHAPES / "beads.jpg") as image:
        image.resize((160, 120)).save(folder / "a.png")
        image.crop((300, 60, 500, 200)).save(folder / "b.png")
    return tmp_path / "data"


@pytest.fixture
def prompt(samcli_run):
    def run(source: Path, *arguments: object) -> dict:
        result = samcli_run("prompt", source, *BOX, *TINY, "--json", *arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


def written(folder: Path) -> set[str]:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith(".samcli/")}


@pytest.mark.parametrize("name", ["overlay", "cutouts", "labelmap", "masks", "voc", "png"])
def test_pictures_of_a_run__are_no_images_of_the_next(prompt, data, name: str) -> None:
    assert prompt(data, "--format", name)["done"] == 2
    again = prompt(data, "--format", name)
    assert (again["done"], again["skipped"], again["images"]) == (0, 2, 2)


@pytest.mark.parametrize("name", ["labelmap", "masks", "overlay", "cutouts"])
def test_pictures_among_the_images__are_refused_even_with_overwrite(samcli_run, data, name: str) -> None:
    images = data / "images"
    before = {path: path.read_bytes() for path in images.iterdir()}
    result = samcli_run("prompt", images, "-o", images, *BOX, *TINY, "--format", name, "--overwrite")
    assert result.exit_code == 2
    assert "--output is the input folder" in result.stderr
    assert {path: path.read_bytes() for path in images.iterdir()} == before


def test_folder_with_somebodys_files__is_left_alone(samcli_run, data, tmp_path) -> None:
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "thesis.tex").write_text("years of work")
    result = samcli_run("prompt", data, "-o", out, *BOX, *TINY, "--format", "masks", "--overwrite", "--json")
    assert result.exit_code == 3
    assert "thesis.tex, which samcli did not write" in json.loads(result.stdout)["failures"]["a.png"]
    assert (out / "a" / "thesis.tex").read_text() == "years of work"
    assert (out / "b" / "metadata.csv").is_file()


def test_overwrite_with_one_image__does_not_take_away_the_others(samcli_run, prompt, data, tmp_path) -> None:
    out = tmp_path / "out"
    prompt(data, "-o", out)
    before = written(out)
    image = data / "images" / "a.png"
    result = samcli_run("prompt", image, "--point", "9,9", *TINY, "-o", out, "--overwrite")
    assert result.exit_code == 2
    assert "would remove the labels of 1 other images" in result.stderr
    assert written(out) == before
    prompt(image, "-o", tmp_path / "alone")
    prompt(image, "-o", tmp_path / "alone", "--best-mask", "--overwrite")


def test_fold_that_was_cut_short__is_made_up_for(prompt, data, tmp_path, monkeypatch, samcli_run) -> None:
    out = tmp_path / "out"
    (data / "images" / "b.png").rename(tmp_path / "b.png")
    prompt(data, "-o", out, "--format", "coco")
    (tmp_path / "b.png").rename(data / "images" / "b.png")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(running, "_fold", killed)
        assert samcli_run("prompt", data, "-o", out, *BOX, *TINY, "--format", "coco").exit_code == 130
    assert len(json.loads((out / "annotations.json").read_text())["images"]) == 1
    assert prompt(data, "-o", out, "--format", "coco")["done"] == 0
    assert [image["file_name"] for image in json.loads((out / "annotations.json").read_text())["images"]] == [
        "a.png", "b.png",
    ]  # fmt: skip


def test_finished_run__ends_before_anything_is_opened_for_writing(prompt, data, tmp_path, monkeypatch) -> None:
    out = tmp_path / "out"
    prompt(data, "-o", out, "--format", "coco")
    before = written(out)

    def called(*_: object, **__: object) -> None:
        raise AssertionError("there was nothing to do")

    for name in ("_fold", "write_manifest", "Journal"):
        monkeypatch.setattr(running, name, called)
    assert prompt(data, "-o", out, "--format", "coco")["done"] == 0
    assert written(out) == before


def test_finished_run__in_a_folder_that_cannot_be_written_ends_well(prompt, data, tmp_path, monkeypatch) -> None:
    out = tmp_path / "out"
    prompt(data, "-o", out)

    def refuse(layout: Layout) -> None:
        raise UsageError(f"cannot write in {layout.output}: Read-only file system")

    monkeypatch.setattr(running, "check_output", refuse)
    monkeypatch.setattr(running, "locked", None)
    assert prompt(data, "-o", out)["skipped"] == 2


def test_images_that_are_gone__leave_the_file_for_all(prompt, data, tmp_path) -> None:
    out = tmp_path / "out"
    prompt(data, "-o", out, "--format", "coco")
    (data / "images" / "b.png").unlink()
    PillowImage.new("RGB", (100, 90), "red").save(data / "images" / "c.png")
    prompt(data, "-o", out, "--format", "coco")
    images = json.loads((out / "annotations.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["a.png", "c.png"]


def test_record_that_cannot_be_read__is_reported_and_done_again(samcli_run, prompt, data, tmp_path) -> None:
    out = tmp_path / "out"
    prompt(data, "-o", out, "--format", "coco")
    record = out / ".samcli" / "records" / "a.png.json"
    record.write_bytes(b"{")
    (out / "annotations.json").unlink()
    result = samcli_run("prompt", data, "-o", out, *BOX, *TINY, "--format", "coco", "--json")
    assert result.exit_code == 3
    assert "delete it, and run again" in json.loads(result.stdout)["failures"]["a.png"]
    record.unlink()
    assert prompt(data, "-o", out, "--format", "coco")["done"] == 1
    assert len(json.loads((out / "annotations.json").read_text())["images"]) == 2


def test_record_that_cannot_be_read_for_a_while__keeps_the_file_for_all_and_the_mark(
    samcli_run, prompt, data, tmp_path, monkeypatch
) -> None:
    out, read_own = tmp_path / "out", run_folder.read_own
    (data / "images" / "b.png").rename(tmp_path / "b.png")
    prompt(data, "-o", out, "--format", "coco")
    old = (out / "annotations.json").read_bytes()
    (tmp_path / "b.png").rename(data / "images" / "b.png")

    def failing(path: str | Path, limit: int) -> bytes:
        if str(path).endswith("a.png.json"):
            raise OSError(errno.EIO, "Input/output error", path)
        return read_own(path, limit)

    arguments = ("prompt", data, "-o", out, *BOX, *TINY, "--format", "coco", "--json")
    with monkeypatch.context() as patched:
        patched.setattr(run_folder, "read_own", failing)
        results = [samcli_run(*arguments) for _ in range(2)]
    for result, done in zip(results, (1, 0), strict=True):
        told = json.loads(result.stdout)
        assert (result.exit_code, told["done"], told["failed"], told["remaining"]) == (3, done, 1, 0)
        assert "Input/output error): fix this, and run again" in told["failures"]["a.png"]
    assert (out / "annotations.json").read_bytes() == old
    assert (out / ".samcli" / "unfolded").exists()
    assert prompt(data, "-o", out, "--format", "coco")["skipped"] == 2
    assert len(json.loads((out / "annotations.json").read_text())["images"]) == 2
    assert not (out / ".samcli" / "unfolded").exists()


FORMATS = ["yolo", "masks", "rle", "labelmap", "cutouts", "coco", "voc", "labelme"]


@pytest.mark.parametrize("before", FORMATS)
def test_overwrite__leaves_nothing_of_the_earlier_format(prompt, data, tmp_path, before: str) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    after = FORMATS[(FORMATS.index(before) + 3) % len(FORMATS)]
    prompt(data, "-o", out, "--format", before)
    prompt(data, "-o", out, "--format", after, "--overwrite")
    prompt(data, "-o", fresh, "--format", after)
    assert written(out) == written(fresh)


def test_image_that_comes_while_models_load__is_left_to_the_next_run(
    samcli_run, data, tmp_path, monkeypatch
) -> None:
    boxes, late, load = tmp_path / "boxes", tmp_path / "late.png", Prompt.load
    boxes.mkdir()
    for name in ("a", "late"):
        (boxes / f"{name}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (data / "images" / "b.png").rename(late)

    def loading(*arguments: object) -> object:
        late.exists() and late.rename(data / "images" / "late.png")
        return load(*arguments)

    monkeypatch.setattr(Prompt, "load", loading)
    arguments = ("prompt", data, "--prompts", boxes, "-o", tmp_path / "out", *TINY, "--json")
    first, second = (json.loads(samcli_run(*arguments).stdout) for _ in range(2))
    assert (first["done"], second["done"], second["skipped"], second["instances"]) == (1, 1, 1, 2)
    assert (tmp_path / "out" / "late.txt").read_text()


def test_two_formats_of_two_images__never_share_a_file(samcli_run, data, tmp_path) -> None:
    (data / "images" / "b.png").rename(data / "images" / "a.edges.png")
    result = samcli_run(
        "everything", data, "-o", tmp_path / "o", *TINY, "--points-per-side", 2, "--format", "labelmap", "--edges",
        "--json",
    )  # fmt: skip
    assert result.exit_code == 3
    (reason,) = json.loads(result.stdout)["failures"].values()
    assert "a file of its labels would be one of" in reason


@pytest.mark.parametrize(
    ("command", "name"), [("auto-annotate", "edges"), ("auto-annotate", "logits"), ("everything", "logits")]
)
def test_format_that_a_command_cannot_make__is_refused_before_it_runs(
    samcli_run, data, command, name, monkeypatch
) -> None:
    monkeypatch.setattr(AutoAnnotate, "load", lambda *_: pytest.fail("a model was loaded"))
    result = samcli_run(
        command, data, "--sam", "tiny", *(["--det", "tiny"] if command[0] == "a" else []), "--format", name
    )
    assert result.exit_code == 2
    assert f"--format {name} needs {name}, which samcli {command} does not make" in result.stderr


def test_formats__in_another_order_are_the_same_run(prompt, data, tmp_path) -> None:
    prompt(data, "-o", tmp_path / "o", "--format", "coco", "--format", "yolo")
    assert prompt(data, "-o", tmp_path / "o", "--format", "yolo", "--format", "coco")["skipped"] == 2


def test_large_image_at_which_runs_were_killed__is_tried_alone_then_failed(
    annotate, photo_folder, monkeypatch
) -> None:
    """A kill while it is decoded leaves its mark; the second one is a verdict that --retry-failed lifts."""
    marks = photo_folder.parent / "labels" / ".samcli" / "large.json"
    marks.parent.mkdir(parents=True)
    marks.write_text('{"bus.jpg": 1}')
    first = json.loads(annotate(photo_folder, "--json").stdout)
    assert (first["done"], first["failures"]) == (4, {})
    order = [json.loads(line)["key"] for line in marks.with_name("journal.jsonl").read_text().splitlines()]
    assert order[-1] == "bus.jpg"
    assert not marks.exists()

    marks.write_text('{"bus.jpg": 2}')
    (photo_folder / "bus.jpg").touch()  # to be done again
    second = annotate(photo_folder, "--json")
    assert second.exit_code == 3
    assert "two runs were killed while they worked on this large image" in str(
        json.loads(second.stdout)["failures"]
    )
    assert not marks.exists()
    assert annotate(photo_folder, "--retry-failed").exit_code == 0


def test_large_image__is_marked_while_it_is_decoded(annotate, photo_folder, monkeypatch) -> None:
    marks, seen = photo_folder.parent / "labels" / ".samcli" / "large.json", []
    monkeypatch.setattr("samcli.images.LARGE", 1)
    room_for = samcli.images.room_for
    monkeypatch.setattr("samcli.images.room_for", lambda cost: seen.append(marks.read_text()) or room_for(cost))
    assert annotate(photo_folder).exit_code == 0
    assert len(seen) == 4
    assert all('.jpg": 1' in text for text in seen)
    assert not marks.exists()


def test_failure_that_may_pass__is_tried_again_by_the_next_run(annotate, photo_folder, monkeypatch) -> None:
    read = samcli.images.read_image

    def stale(ref, **options):
        if ref.key == "bus.jpg":
            raise ImageError("cannot be decoded") from OSError(errno.ESTALE, "Stale file handle")
        return read(ref, **options)

    monkeypatch.setattr("samcli.jobs.executor.time.sleep", lambda seconds: None)
    with monkeypatch.context() as patch:
        patch.setattr("samcli.jobs.worker.read_image", stale)
        assert annotate(photo_folder).exit_code == 3
    again = annotate(photo_folder, "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)["done"] == 1


def test_runs_begun_together__say_that_another_one_is_at_work(samcli_run, data, tmp_path) -> None:
    out = tmp_path / "out"
    with locked(Layout(data / "images", out)):
        (out / "a.txt").touch()  # written by the other run, which has no manifest yet
        result = samcli_run("prompt", data, "-o", out, *BOX, *TINY)
    assert result.exit_code == 1
    assert "another samcli is at work" in result.stderr


def test_output_that_is_moved_while_a_run_works__ends_it_with_a_storage_error(
    samcli_run, data, tmp_path, monkeypatch
) -> None:
    out, publish = tmp_path / "out", Worker.publish

    def moving(worker: Worker, ref: ImageRef, result: AnnotatedImage) -> Outcome:
        outcome = publish(worker, ref, result)
        if ref.key == "b.png":
            out.rename(tmp_path / "moved")
        return outcome

    with monkeypatch.context() as patched:
        patched.setattr(Worker, "publish", moving)
        result = samcli_run("prompt", data, "-o", out, *BOX, *TINY)
    assert result.exit_code == 1
    assert "was the output folder moved, removed or unmounted?" in result.stderr
    (tmp_path / "moved").rename(out)
    assert '"b.png"' not in (out / ".samcli" / "journal.jsonl").read_text()
    assert json.loads(samcli_run("prompt", data, "-o", out, *BOX, *TINY, "--json").stdout)["remaining"] == 0


def test_refused_run__leaves_no_folder_behind(samcli_run, data, tmp_path) -> None:
    out = tmp_path / "deep" / "out"
    result = samcli_run("prompt", data, "-o", out, *BOX, "--sam", tmp_path / "nowhere.pt")
    assert result.exit_code != 0
    assert not (tmp_path / "deep").exists()


def test_forged_journal__has_nothing_outside_the_output_removed(samcli_run, prompt, data, tmp_path) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim.txt"
    prompt(data, "-o", out)
    victim.write_text("years of work")
    records = out / ".samcli" / "records"
    (records.parent.parent.parent / "victim.png.json").write_text("{}")  # where `../../../victim.png` would lead
    journal = out / ".samcli" / "journal.jsonl"
    forged = {**json.loads(journal.read_text().splitlines()[0]), "key": "../victim.png"}
    with journal.open("a") as file:
        file.write(json.dumps({**forged, "key": "../../../victim.png"}) + "\n" + json.dumps(forged) + "\n")
    result = samcli_run("prompt", data, "-o", out, *BOX, *TINY, "--overwrite")
    assert result.exit_code == 0
    assert victim.read_text() == "years of work"
    assert (tmp_path / "victim.png.json").exists()
    assert "lines that are not as samcli writes them: 2" in result.stderr
