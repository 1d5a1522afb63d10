"""What all commands share in a run: nobody's files are lost, and nothing written is stale."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from PIL import Image as PillowImage

import samcli.images
import samcli.jobs.run as running
from samcli.errors import ImageError
from samcli.jobs.auto_annotate import AutoAnnotate

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

    def called(*_: object, **__: object) -> None:
        raise AssertionError("there was nothing to do")

    for name in ("_fold", "locked"):
        monkeypatch.setattr(running, name, called)
    assert prompt(data, "-o", out, "--format", "coco")["done"] == 0


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
    out, read_bytes = tmp_path / "out", Path.read_bytes
    (data / "images" / "b.png").rename(tmp_path / "b.png")
    prompt(data, "-o", out, "--format", "coco")
    old = (out / "annotations.json").read_bytes()
    (tmp_path / "b.png").rename(data / "images" / "b.png")

    def failing(path: Path) -> bytes:
        if path.name == "a.png.json":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read_bytes(path)

    arguments = ("prompt", data, "-o", out, *BOX, *TINY, "--format", "coco", "--json")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", failing)
        results = [samcli_run(*arguments) for _ in range(2)]
    for result, done in zip(results, (1, 0), strict=True):
        told = json.loads(result.stdout)
        assert (result.exit_code, told["done"], told["failed"], told["remaining"]) == (3, done, 1, 0)
        assert "Input/output error): mend that, and run again" in told["failures"]["a.png"]
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


def test_image_that_comes_while_models_load__is_asked_its_own_prompts(
    samcli_run, data, tmp_path, monkeypatch
) -> None:
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    for name in ("a", "late"):
        (boxes / f"{name}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    late = tmp_path / "late.png"
    (data / "images" / "b.png").rename(late)
    make_plan, calls = running.make_plan, []

    def plan(*arguments: object) -> object:
        if calls:  # the second plan, under the lock
            late.exists() and late.rename(data / "images" / "late.png")
        calls.append(1)
        return make_plan(*arguments)

    monkeypatch.setattr(running, "make_plan", plan)
    result = samcli_run("prompt", data, "--prompts", boxes, "-o", tmp_path / "out", *TINY, "--json")
    assert json.loads(result.stdout)["instances"] == 2
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
