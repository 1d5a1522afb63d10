"""The main job from the command line to the bytes on disk."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import iou
from PIL import Image
from runs import files, journal

from samcli.images import read_image
from samcli.jobs.auto_annotate import AutoAnnotate, padded
from samcli.masks import mask_iou
from samcli.output.records import read_record
from samcli.polygons import label_points, mask_to_polygons
from samcli.sam.engine import Engine


def test_run__writes_a_label_a_record_and_a_line_for_each_image(annotate, photo_folder) -> None:
    result = annotate(photo_folder)
    assert result.exit_code == 0, result.output
    labels = photo_folder.parent / "labels"
    names = ["bus", "more/bus", "more/copy", "zidane"]
    assert sorted(files(labels)) == sorted(
        ["data.yaml", *(f"{n}.txt" for n in names), *(f".samcli/records/{n}.jpg.json" for n in names)]
    )
    assert sorted((row["key"], row["status"]) for row in journal(labels)) == [(f"{n}.jpg", "done") for n in names]


def test_masks__are_the_references_and_carry_the_class_of_their_own_box(
    annotate, photo_folder, yolo, small_sam
) -> None:
    """With segment-anything's predictor on Ultralytics' boxes, both used by hand."""
    pytest.importorskip("segment_anything")
    from references import reference
    from ultralytics import YOLO

    annotate(photo_folder, "--max-det", 8, "--cross-class-iou", 1)
    predictor, classes = reference(small_sam, 256), set()
    for path in sorted(photo_folder.rglob("*.jpg")):
        image = read_image(path)
        (found,) = YOLO(yolo).predict(
            np.ascontiguousarray(image.pixels[..., ::-1]), conf=0.1, iou=0.45, max_det=8, verbose=False
        )
        key = path.relative_to(photo_folder).as_posix()
        record = photo_folder.parent / "labels" / ".samcli" / "records" / f"{key}.json"
        annotation = read_record(record.read_bytes())
        predictor.set_image(image.pixels)
        wanted = [
            (predictor.predict(box=box, multimask_output=False)[0][0], int(class_id), float(score))
            for box, class_id, score in zip(
                found.boxes.xyxy.numpy(), found.boxes.cls, found.boxes.conf, strict=True
            )
        ]
        wanted = [item for item in wanted if item[0].any()]
        assert len(annotation.instances) == len(wanted) > 0
        for instance, (mask, class_id, score) in zip(annotation.instances, wanted, strict=True):
            assert iou(instance.mask.pixels(), mask) >= 0.9999
            assert instance.class_id == class_id
            assert instance.quality.detector_score == pytest.approx(score, abs=1e-5)
            classes.add(class_id)
    assert len(classes) > 1, "one class alone could not show a mix-up"


def test_dropped_mask__takes_its_own_class_with_it(annotate, photo_folder) -> None:
    """Half of the masks are dropped by a threshold; the others must keep the class of their own box."""
    both = ("--max-det", 12, "--cross-class-iou", 1)
    annotate(photo_folder, *both, "-o", photo_folder.parent / "all")
    every = read_record((photo_folder.parent / "all/.samcli/records/bus.jpg.json").read_bytes()).instances
    threshold = float(np.median([instance.quality.predicted_iou for instance in every]))
    annotate(photo_folder, *both, "--pred-iou-thresh", threshold, "-o", photo_folder.parent / "some")
    annotation = read_record((photo_folder.parent / "some/.samcli/records/bus.jpg.json").read_bytes())
    kept = {instance.prompt_box: instance.class_id for instance in annotation.instances}
    assert 0 < len(kept) < len(every)
    assert kept.items() <= {instance.prompt_box: instance.class_id for instance in every}.items()
    assert len(annotation.dropped) == len(every) - len(kept)
    assert all("--pred-iou-thresh" in dropped.reason for dropped in annotation.dropped)
    counted = sum(row["dropped"] for row in journal(photo_folder.parent / "some") if row["key"] == "bus.jpg")
    assert counted == len(annotation.dropped)


def test_image_without_objects__has_an_empty_label_file(annotate, photo_folder) -> None:
    result = annotate(photo_folder, "--conf", 1)
    assert result.exit_code == 0
    labels = photo_folder.parent / "labels"
    assert [len(data) for name, data in files(labels).items() if name.endswith(".txt")] == [0, 0, 0, 0]
    assert all(row["instances"] == {} for row in journal(labels))


def test_labels__are_rows_that_the_trainer_accepts_and_turns_into_the_masks(annotate, photo_folder) -> None:
    """Read by ultralytics' own data set check, resampled and rasterised by its own functions."""
    annotate(photo_folder, "--max-det", 10, "--min-part-area", 0)
    from ultralytics.data.utils import polygon2mask, verify_image_label
    from ultralytics.utils.ops import resample_segments

    labels = photo_folder.parent / "labels"
    for path in sorted(photo_folder.rglob("*.jpg")):
        key = path.relative_to(photo_folder)
        text = labels / key.with_suffix(".txt")
        _, rows, shape, segments, _, missing, found, empty, corrupt, message = verify_image_label(
            (str(path), str(text), "", False, 3, 0, 0, False)
        )
        assert (missing, found, empty, corrupt, message) == (0, 1, 0, 0, "")
        assert len(rows) == len(text.read_text().splitlines()) > 0
        annotation = read_record((labels / ".samcli" / "records" / f"{key}.json").read_bytes())
        height, width = shape
        longest = max(len(segment) for segment in segments)
        points = 1000 if longest <= 1000 else longest + 1  # as YOLODataset.update_labels_info chooses it
        read = list(zip(segments, resample_segments(list(segments), points), strict=True))
        for instance in annotation.instances:
            drawn = np.zeros((height, width), bool)
            rings = mask_to_polygons(instance.mask).rings
            assert len(rings) == 1, "one object, one row"
            for ring in rings:
                written = label_points(ring, height, width)
                as_trained = next(
                    after
                    for row, after in read
                    if row.shape == written.shape and np.allclose(row, written, atol=1e-6)
                )
                drawn |= polygon2mask((height, width), [(as_trained * (width, height)).reshape(-1)]).astype(bool)
            pixels = instance.mask.pixels()
            assert (drawn & pixels).sum() >= 0.97 * pixels.sum(), "bridges between parts take nothing away"
            assert instance.quality.polygon_iou == pytest.approx(iou(drawn, pixels), abs=1e-6)


def test_finished_run__does_nothing_and_loads_no_model(annotate, photo_folder, monkeypatch) -> None:
    annotate(photo_folder)
    before = files(photo_folder.parent / "labels")
    monkeypatch.setattr(AutoAnnotate, "load", lambda *_: pytest.fail("a model was loaded"))
    result = annotate(photo_folder, "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert (facts["done"], facts["skipped"], facts["remaining"]) == (0, 4, 0)
    assert files(photo_folder.parent / "labels") == before


def test_resume__does_only_what_is_missing_new_or_changed(annotate, photo_folder) -> None:
    annotate(photo_folder)
    labels = photo_folder.parent / "labels"
    before = files(labels)
    (labels / "bus.txt").unlink()  # lost
    Image.new("RGB", (64, 48), "red").save(photo_folder / "new.png")  # new
    shutil.copy(photo_folder / "bus.jpg", photo_folder / "more" / "copy.jpg")  # another photo now
    facts = json.loads(annotate(photo_folder, "--json").stdout)
    assert (facts["done"], facts["skipped"]) == (3, 2)
    after = files(labels)
    assert after["bus.txt"] == before["bus.txt"]
    assert after["more/copy.txt"] == after["bus.txt"] != before["more/copy.txt"]
    assert "new.txt" in after


def test_other_options__are_refused_by_name_and_overwrite_begins_anew(annotate, photo_folder) -> None:
    annotate(photo_folder)
    before = files(photo_folder.parent / "labels")
    result = annotate(photo_folder, "--conf", 0.2, "--parts", "largest")
    assert result.exit_code == 2
    assert "--conf was 0.1, now 0.2" in result.stderr
    assert "parts" in result.stderr
    assert files(photo_folder.parent / "labels") == before
    assert annotate(photo_folder, "--conf", 0.2, "--overwrite").exit_code == 0
    assert len(journal(photo_folder.parent / "labels")) == 4
    assert annotate(photo_folder, "--conf", 0.2).exit_code == 0


def test_batch_workers_and_device__may_change_between_runs(annotate, photo_folder) -> None:
    annotate(photo_folder)
    result = annotate(photo_folder, "--batch", 3, "--workers", 4, "--device", "cpu", "--json")
    assert (result.exit_code, json.loads(result.stdout)["skipped"]) == (0, 4)


def test_batch__does_not_change_a_byte_on_a_cpu(annotate, photo_folder) -> None:
    annotate(photo_folder, "-o", photo_folder.parent / "one", "--batch", 1, "--workers", 1)
    annotate(photo_folder, "-o", photo_folder.parent / "many", "--batch", 3, "--workers", 4)
    assert files(photo_folder.parent / "one") == files(photo_folder.parent / "many")


def test_another_input__into_the_same_folder_is_refused(annotate, photo_folder, tmp_path) -> None:
    annotate(photo_folder, "-o", tmp_path / "out")
    result = annotate(photo_folder / "more", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "holds what was made of" in result.stderr


def test_sibling_folders__of_one_default_output_are_told_apart_by_the_way_out_that_is_said(
    annotate, photo_folder, tmp_path
) -> None:
    first, second = tmp_path / "my photos", tmp_path / "more"
    for folder in (first, second):
        folder.mkdir()
        shutil.copy(photo_folder / "bus.jpg", folder)
    assert annotate(second).exit_code == 0
    refused = annotate(first)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    option, folder = shlex.split(refused.stderr)[-2:]
    assert annotate(first, option, folder).exit_code == 0
    assert (tmp_path / "labels-my photos" / "bus.txt").exists()
    assert json.loads(annotate(first, option, folder, "--json").stdout)["skipped"] == 1
    assert json.loads(annotate(second, "--json").stdout)["skipped"] == 1


def test_moved_data_set__resumes_where_it_lies_now(annotate, photo_folder, tmp_path) -> None:
    annotate(photo_folder)
    (tmp_path / "data").rename(tmp_path / "moved")
    facts = json.loads(annotate(tmp_path / "moved" / "images", "--json").stdout)
    assert (facts["skipped"], facts["done"]) == (4, 0)


def test_labels_by_another_hand__are_never_overwritten_unasked(annotate, photo_folder) -> None:
    labels = photo_folder.parent / "labels"
    labels.mkdir()
    (labels / "bus.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (labels / "data.yaml").write_text("names: [mine]\n")
    result = annotate(photo_folder)
    assert result.exit_code == 2
    assert "samcli did not write: 2 in the way" in result.stderr
    assert (labels / "bus.txt").read_text() == "0 0.5 0.5 0.1 0.1\n"
    assert not (labels / ".samcli").exists()
    assert annotate(photo_folder, "--overwrite").exit_code == 0
    assert (labels / "bus.txt").read_text() != "0 0.5 0.5 0.1 0.1\n"


def test_no_resume__refuses_a_folder_with_an_earlier_run(annotate, photo_folder) -> None:
    annotate(photo_folder)
    result = annotate(photo_folder, "--no-resume")
    assert result.exit_code == 2
    assert "earlier run" in result.stderr


def test_failed_images__are_kept_until_asked_to_be_tried_again(annotate, photo_folder) -> None:
    (photo_folder / "bad.jpg").write_text("no image")
    assert annotate(photo_folder).exit_code == 3
    again = json.loads(annotate(photo_folder, "--json").stdout)
    assert (again["done"], again["failed"]) == (0, 1)
    assert "not a valid image file" in again["failures"]["bad.jpg"]
    shutil.copy(photo_folder / "bus.jpg", photo_folder / "bad.jpg")  # mended: another version of the file
    assert annotate(photo_folder).exit_code == 0


def test_retry_failed__tries_what_failed_for_reasons_that_passed(annotate, photo_folder, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "samcli.sam.engine.Engine.encode", lambda *_: (_ for _ in ()).throw(RuntimeError("a bad day"))
        )
        assert annotate(photo_folder).exit_code == 3
    assert "a bad day" in annotate(photo_folder, "--json").stdout
    assert annotate(photo_folder, "--retry-failed").exit_code == 0


def test_image_that_fails_now__loses_the_labels_of_its_earlier_version(annotate, photo_folder) -> None:
    annotate(photo_folder)
    (photo_folder / "bus.jpg").write_bytes(b"damaged since")
    assert annotate(photo_folder).exit_code == 3
    left = files(photo_folder.parent / "labels")
    assert "bus.txt" not in left
    assert ".samcli/records/bus.jpg.json" not in left


def test_max_failures__stops_the_run(annotate, photo_folder) -> None:
    for index in range(20):
        (photo_folder / f"a{index:02}.jpg").write_text("no image")
    result = annotate(photo_folder, "--max-failures", 3, "--workers", 1, "--json")
    facts = json.loads(result.stdout)
    assert result.exit_code == 3
    assert facts["stopped_by"] == "--max-failures 3"
    assert 3 <= facts["failed"] < 20
    assert facts["remaining"] > 0


def test_full_disk__ends_the_run_with_one_line_and_the_next_one_goes_on(
    annotate, photo_folder, monkeypatch
) -> None:
    real, left = os.fsync, [5]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("samcli.files.os.fsync", fsync)
        result = annotate(photo_folder)
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert "run the same command again" in result.stderr
    assert not list((photo_folder.parent / "labels").rglob("*.tmp"))
    assert annotate(photo_folder).exit_code == 0
    clean = photo_folder.parent / "clean"
    annotate(photo_folder, "-o", clean)
    assert {k: v for k, v in files(clean).items() if k != "data.yaml"} == {
        k: v for k, v in files(photo_folder.parent / "labels").items() if k != "data.yaml"
    }


def test_dry_run__says_what_would_be_done_and_writes_nothing(annotate, photo_folder) -> None:
    (photo_folder / "bad.jpg").write_text("no image")
    Image.fromarray(np.full((20, 30), 4000, np.uint16)).save(photo_folder / "wide.png")
    Image.new("RGBA", (20, 30)).save(photo_folder / "alpha.png")
    shutil.copy(photo_folder / "alpha.png", photo_folder / "bus.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 30)).save(photo_folder / "turned.jpg", exif=exif)
    result = annotate(photo_folder, "--dry-run", "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert (facts["images"], facts["to_do"]) == (9, 7)
    assert facts["rotated"] == ["turned.jpg"]
    assert facts["more_than_8_bits"] == ["wide.png"]
    assert facts["alpha_dropped"] == ["alpha.png"]
    assert list(facts["unreadable"]) == ["bad.jpg"]
    assert list(facts["label_name_taken"]) == ["bus.png"]
    assert not (photo_folder.parent / "labels").exists()
    assert "label-name collisions" in annotate(photo_folder, "--dry-run").stdout


def test_dry_run__says_that_the_output_cannot_be_written_and_leaves_nothing(
    samcli_run, photo_folder, monkeypatch
) -> None:
    above = photo_folder.parent
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != above)
    result = samcli_run("auto-annotate", photo_folder, "--det", "tiny", "--sam", "tiny", "--dry-run")
    assert result.exit_code == 2
    assert f"cannot write in {above / 'labels'}: Permission denied. Choose another" in result.stderr
    assert not (above / "labels").exists()


def test_dry_run__opens_no_ordinary_photo_and_asks_for_no_device(samcli_run, photo_folder, monkeypatch) -> None:
    """A folder of 100,000 photos is looked at in seconds: neither PyTorch nor an image decoder is needed."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("not in a dry run")

    monkeypatch.setattr("samcli.sam.devices.choose_device", refuse)
    monkeypatch.setattr("samcli.images._open", refuse)
    result = samcli_run("auto-annotate", photo_folder, "--det", "tiny", "--sam", "tiny", "--dry-run", "--json")
    assert (result.exit_code, json.loads(result.stdout)["to_do"]) == (0, 4), result.output


def test_dry_run__needs_no_checkpoint(samcli_run, photo_folder) -> None:
    result = samcli_run("auto-annotate", photo_folder, "--dry-run", "--json")
    assert json.loads(result.stdout)["to_download"] == ["yolov8x.pt", "sam_b.pt"]


def test_folder_of_rubbish__labels_all_that_can_be_read_and_says_why_not(annotate, tmp_path, photos) -> None:
    folder = tmp_path / "images"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    small = Image.open(photos[0]).resize((320, 426))
    small.save(folder / "whole.jpg")
    (folder / "truncated.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:9000])
    (folder / "text.jpg").write_text("I am a text")
    (folder / "nothing.jpg").touch()
    Image.new("RGB", (1, 1), "red").save(folder / "one.png")
    Image.new("L", (12000, 9000), 90).save(folder / "huge.png")
    small.convert("CMYK").save(folder / "cmyk.jpg")
    grey = np.asarray(small.convert("L")).astype(np.uint16) * 16
    Image.fromarray(grey).save(folder / "twelve.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    small.save(folder / "turned.jpg", exif=exif)
    odd = 'it\'s "odd" \N{GRINNING FACE}\nname.jpg'
    small.save(folder / odd)
    for name in ("a/1.jpg", "b/1.jpg", "a/1.png"):
        small.save(folder / name)

    result = annotate(folder, "--json", "--max-det", 1)

    facts = json.loads(result.stdout)
    assert result.exit_code == 3
    assert set(facts["failures"]) == {"truncated.jpg", "text.jpg", "nothing.jpg", "a/1.png"}
    assert "truncated" in facts["failures"]["truncated.jpg"]
    assert "not a valid image file" in facts["failures"]["text.jpg"]
    assert "empty" in facts["failures"]["nothing.jpg"]
    assert "that of a/1.jpg" in facts["failures"]["a/1.png"]
    written = {name for name in files(tmp_path / "labels") if name.endswith(".txt")}
    readable = ["whole", "one", "huge", "cmyk", "twelve", "turned", odd[:-4], "a/1", "b/1"]
    assert written == {f"{name}.txt" for name in readable}
    lines = {row["key"]: row["status"] for row in journal(tmp_path / "labels")}
    assert len(lines) == 12, "the one whose label name is taken has no line: that depends on the others"
    turned = read_record((tmp_path / "labels/.samcli/records/turned.jpg.json").read_bytes())
    assert turned.image_size == (320, 426), "the upright size"
    whole, twelve = (
        read_record((tmp_path / f"labels/.samcli/records/{n}.json").read_bytes())
        for n in ("whole.jpg", "twelve.png")
    )
    assert len(twelve.instances) > 0, "12-bit data must not turn black"
    assert twelve.image_size == whole.image_size

    (folder / "huge.png").unlink()
    collided = annotate(folder, "--json", "--max-det", 1, "--on-collision", "suffix", "-o", tmp_path / "other")
    assert "a/1.png" not in json.loads(collided.stdout)["failures"]
    assert (tmp_path / "other" / "a" / "1.png.txt").is_file()


def test_read_only_input__is_told_apart_and_works_with_an_output(
    annotate, photo_folder, tmp_path, monkeypatch
) -> None:
    real = Path.mkdir

    def mkdir(self, *arguments, **options):
        if self.is_relative_to(photo_folder.parent / "labels"):
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        real(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    result = annotate(photo_folder)
    assert result.exit_code == 2
    assert "--output" in result.stderr
    assert annotate(photo_folder, "-o", tmp_path / "elsewhere").exit_code == 0


def test_single_image__is_labelled_like_its_folder(annotate, photo_folder) -> None:
    assert annotate(photo_folder / "bus.jpg").exit_code == 0
    assert (photo_folder.parent / "labels" / "bus.txt").is_file()
    facts = json.loads(annotate(photo_folder, "--json").stdout)
    assert (facts["skipped"], facts["done"]) == (1, 3)


def test_evil_models__are_refused_with_one_line(annotate, photo_folder, tmp_path) -> None:
    import torch
    from helpers import Bomb

    trace = tmp_path / "ran"
    torch.save({"model": Bomb(trace)}, tmp_path / "evil.pt")
    for option in ("--det", "--sam"):
        result = annotate(photo_folder, option, tmp_path / "evil.pt")
        assert result.exit_code == 1
        *loading, refusal = result.stderr.strip().splitlines()
        assert "refused" in refusal
        assert [line.partition("loading")[0] for line in loading] in ([], ["samcli: "])
    assert not trace.exists()


def test_unknown_class__lists_the_known_ones(annotate, photo_folder) -> None:
    result = annotate(photo_folder, "--classes", "cta")
    assert result.exit_code == 2
    assert "Did you mean 'cat'?" in result.stderr
    assert "0 cat, 1 dog, 2 bird" in result.stderr


def test_label_of_a_gone_image__never_passes_for_that_of_another(annotate, photo_folder) -> None:
    shutil.copy(photo_folder / "zidane.jpg", photo_folder / "twin.jpg")
    Image.open(photo_folder / "bus.jpg").save(photo_folder / "twin.png")
    annotate(photo_folder, "--on-collision", "suffix")
    labels = photo_folder.parent / "labels"
    before = files(labels)
    assert before["twin.txt"] != before["twin.png.txt"]
    (photo_folder / "twin.jpg").unlink()
    facts = json.loads(annotate(photo_folder, "--on-collision", "suffix", "--json").stdout)
    assert (facts["skipped"], facts["done"]) == (5, 0)
    assert files(labels) == before, "the label of twin.png keeps its name; that of twin.jpg stays until needed"


def test_gone_image__gives_its_label_name_to_the_one_that_waits_for_it(annotate, photo_folder) -> None:
    shutil.copy(photo_folder / "zidane.jpg", photo_folder / "twin.jpg")
    Image.open(photo_folder / "bus.jpg").save(photo_folder / "twin.png")
    assert annotate(photo_folder).exit_code == 3
    labels = photo_folder.parent / "labels"
    first = files(labels)
    (photo_folder / "twin.jpg").unlink()
    assert annotate(photo_folder).exit_code == 0
    after = files(labels)
    assert ".samcli/records/twin.jpg.json" not in after
    assert after["twin.txt"] != first["twin.txt"]
    assert read_record(after[".samcli/records/twin.png.json"]).image_size == (426, 320)
    assert annotate(photo_folder).exit_code == 0


def test_newcomer__with_a_taken_label_name_fails_alone(annotate, samcli_run, photo_folder) -> None:
    annotate(photo_folder)
    before = files(photo_folder.parent / "labels")
    shutil.copy(photo_folder / "zidane.jpg", photo_folder / "BUS.jpeg")  # sorts before bus.jpg
    for arguments in (
        [photo_folder],
        [photo_folder, "--retry-failed"],
        [photo_folder / "BUS.jpeg", "--retry-failed"],
    ):
        result = annotate(*arguments, "--json")
        assert result.exit_code == 3
        assert "that of bus.jpg" in json.loads(result.stdout)["failures"]["BUS.jpeg"]
        assert files(photo_folder.parent / "labels") == before
    assert "BUS.jpeg" in samcli_run("status", photo_folder.parent / "labels", "--failures").stdout


def test_label_drawn_by_hand_in_a_run_under_way__is_spared_and_its_image_fails_alone(
    annotate, photo_folder
) -> None:
    (photo_folder / "bad.jpg").write_text("no image")
    annotate(photo_folder)
    shutil.copy(photo_folder / "bus.jpg", photo_folder / "bad.jpg")
    own = photo_folder.parent / "labels" / "bad.txt"
    own.write_text("0 0.5 0.5 0.1 0.1\n")
    result = annotate(photo_folder, "--json")
    assert result.exit_code == 3
    assert "not written by samcli" in json.loads(result.stdout)["failures"]["bad.jpg"]
    assert own.read_text() == "0 0.5 0.5 0.1 0.1\n"


def test_overwrite__leaves_nothing_of_the_earlier_recipe(annotate, photo_folder) -> None:
    shutil.copy(photo_folder / "zidane.jpg", photo_folder / "z.jpg")
    Image.open(photo_folder / "bus.jpg").save(photo_folder / "z.png")
    annotate(photo_folder, "--on-collision", "suffix")
    labels = photo_folder.parent / "labels"
    assert "z.png.txt" in files(labels)
    (photo_folder / "z.jpg").unlink()
    annotate(photo_folder, "--conf", 0.3, "--overwrite")
    assert "z.png.txt" not in files(labels)
    assert ".samcli/records/z.jpg.json" not in files(labels)
    assert "z.txt" in files(labels)


def test_data_yaml__that_somebody_edited_is_left_alone(annotate, photo_folder) -> None:
    annotate(photo_folder)
    page = photo_folder.parent / "labels" / "data.yaml"
    page.write_text(page.read_text().replace("val: ../images", "val: ../images/more"))
    shutil.copy(photo_folder / "bus.jpg", photo_folder / "new.jpg")
    annotate(photo_folder)
    assert "val: ../images/more" in page.read_text()


def test_data_yaml__that_was_lost_is_written_again(annotate, photo_folder) -> None:
    annotate(photo_folder)
    page = photo_folder.parent / "labels" / "data.yaml"
    before = page.read_bytes()
    page.unlink()
    assert annotate(photo_folder).exit_code == 0
    assert page.read_bytes() == before


def test_collision__can_be_solved_as_its_message_says(annotate, photo_folder) -> None:
    Image.open(photo_folder / "bus.jpg").save(photo_folder / "bus.png")
    assert annotate(photo_folder).exit_code == 3
    before = files(photo_folder.parent / "labels")
    assert annotate(photo_folder, "--on-collision", "suffix").exit_code == 0
    after = files(photo_folder.parent / "labels")
    assert set(after) - set(before) == {"bus.png.txt", ".samcli/records/bus.png.json"}
    assert {name: after[name] for name in before} == before


def test_forgotten_models__are_named_before_anything_is_downloaded(
    annotate, samcli_run, photo_folder, yolo
) -> None:
    annotate(photo_folder)
    result = samcli_run("auto-annotate", photo_folder)
    assert result.exit_code == 2
    assert f"was begun with --det {yolo}" in result.stderr
    assert "download" not in result.stderr


def test_part_of_a_run__is_not_called_somebody_elses(annotate, photo_folder) -> None:
    annotate(photo_folder)
    result = annotate(photo_folder / "more")
    assert result.exit_code == 2
    assert "is part of the run in" in result.stderr


def test_vanished_input__is_no_verdict_on_its_images(annotate, photo_folder, monkeypatch) -> None:
    from samcli.sam.engine import Engine

    encode = Engine.encode

    def unmount(self, images):
        if photo_folder.exists():
            photo_folder.rename(photo_folder.parent / "away")
        return encode(self, images)

    for index in range(12):
        shutil.copy(photo_folder / "bus.jpg", photo_folder / f"more{index:02}.jpg")
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "encode", unmount)
        result = annotate(photo_folder, "--workers", 1)
    assert result.exit_code == 1
    assert "is gone" in result.stderr
    assert all(row["status"] == "done" for row in journal(photo_folder.parent / "labels"))
    (photo_folder.parent / "away").rename(photo_folder)
    assert annotate(photo_folder).exit_code == 0


def test_answer_that_is_not_finite__fails_the_image_instead_of_calling_it_empty(
    annotate, photo_folder, small_sam, tmp_path
) -> None:
    import torch

    tensors = torch.load(small_sam, weights_only=True)
    tensors["mask_decoder.iou_prediction_head.layers.0.bias"][:] = float("nan")
    torch.save(tensors, tmp_path / "nan.pth")
    result = annotate(photo_folder, "--sam", tmp_path / "nan.pth", "--json")
    assert result.exit_code == 3
    assert "not finite" in json.loads(result.stdout)["failures"]["bus.jpg"]
    assert not (photo_folder.parent / "labels" / "bus.txt").exists()


def test_trust__in_one_file_does_not_extend_to_the_next(tmp_path, yolo) -> None:
    import torch
    from helpers import Bomb

    import samcli

    torch.save({"model": Bomb(tmp_path / "ran")}, tmp_path / "evil.pt")
    samcli.load_detector(str(yolo), trust_weights=True)
    with pytest.raises(samcli.SamcliError, match="refused"):
        samcli.load_detector(str(tmp_path / "evil.pt"))
    assert not (tmp_path / "ran").exists()


def test_classes__in_another_order_are_the_same_recipe(annotate, photo_folder) -> None:
    annotate(photo_folder, "--classes", "cat,dog")
    assert annotate(photo_folder, "--classes", "Dog, cat").exit_code == 0


# Several formats at once


def test_formats__several_at_once_are_all_written_and_kept_in_step(photo_folder: Path, annotate) -> None:
    from pycocotools.coco import COCO

    formats = ["--format", "yolo", "--format", "coco", "--format", "voc", "--format", "labelstudio"]
    done = annotate(photo_folder, *formats)
    assert done.exit_code == 0, done.stderr
    labels = photo_folder.parent / "labels"
    coco = COCO(labels / "annotations.json")
    keys = [image["file_name"] for image in coco.dataset["images"]]
    assert keys == ["bus.jpg", "more/bus.jpg", "more/copy.jpg", "zidane.jpg"]
    assert (labels / "SegmentationObject" / "more" / "copy.png").is_file()
    assert (labels / "ImageSets/Segmentation/train.txt").read_text().split() == [key[:-4] for key in keys]
    count = len(coco.dataset["annotations"])
    assert count == sum(row["instances"] for row in statuses(labels))
    (labels / "annotations.json").unlink()
    assert annotate(photo_folder, *formats).exit_code == 0  # a finished run makes it again, from its records
    assert len(COCO(labels / "annotations.json").dataset["annotations"]) == count


def statuses(labels: Path) -> list[dict[str, int]]:
    rows = [json.loads(line) for line in (labels / ".samcli" / "journal.jsonl").read_text().splitlines()]
    return [{"instances": sum(row["instances"].values())} for row in rows]


def test_formats__that_write_the_same_file_are_refused_before_anything_is_done(
    photo_folder: Path, annotate
) -> None:
    for pair in (["yolo", "yolo-box"], ["rle", "labelme"], ["sa1b", "rle"], ["coco", "coco-polygon"]):
        for more in ([], ["--dry-run"]):
            done = annotate(photo_folder, "--format", pair[0], "--format", pair[1], *more)
            assert done.exit_code == 2
            assert done.stderr.startswith(f"samcli: {pair[0]} and {pair[1]} both write ")
            assert done.stderr.count("\n") == 1
    assert not (photo_folder.parent / "labels").exists()


def test_formats__spare_a_file_for_all_images_that_somebody_else_wrote(photo_folder: Path, annotate) -> None:
    mine = photo_folder.parent / "labels" / "annotations.json"
    mine.parent.mkdir()
    mine.write_text("my work")
    done = annotate(photo_folder, "--format", "coco")
    assert done.exit_code == 2
    assert "1 in the way" in done.stderr
    assert mine.read_text() == "my work"


def test_formats__an_image_whose_label_would_be_the_file_for_all_images_fails(photo_folder: Path, annotate) -> None:
    (photo_folder / "bus.jpg").rename(photo_folder / "annotations.jpg")
    done = annotate(photo_folder, "--format", "coco", "--format", "sa1b")
    assert done.exit_code == 3
    assert "annotations.jpg: its label file would be the annotations.json of all images" in done.stdout
    assert '"categories"' in (photo_folder.parent / "labels" / "annotations.json").read_text()


# how boxes prompt SAM


def records(folder: Path) -> dict[str, tuple]:
    root = folder / ".samcli" / "records"
    return {
        path.relative_to(root).as_posix(): read_record(path.read_bytes()).instances
        for path in sorted(root.rglob("*.json"))
    }


def test_padding_0_and_no_refining__change_no_byte_and_no_fingerprint(annotate, photo_folder, tmp_path) -> None:
    annotate(photo_folder, "-o", tmp_path / "plain")
    flags = ["--box-padding", 0, "--refine", 0, "--no-best-mask"]
    annotate(photo_folder, "-o", tmp_path / "said", *flags)
    assert files(tmp_path / "plain") == files(tmp_path / "said")
    again = annotate(photo_folder, "-o", tmp_path / "plain", *flags, "--json")
    assert json.loads(again.stdout)["skipped"] == 4
    assert "refine" not in json.loads((tmp_path / "plain/.samcli/run.json").read_text())["recipe"]


def test_padding__grows_the_prompt_and_not_the_box_in_the_record(
    annotate, photo_folder, tmp_path, monkeypatch
) -> None:
    asked = []
    segment = Engine.segment
    monkeypatch.setattr(Engine, "segment", lambda s, e, p, **m: asked.append((e, p)) or segment(s, e, p, **m))
    annotate(photo_folder, "-o", tmp_path / "plain")
    plain = [prompts.boxes for _, prompts in asked]
    asked.clear()
    annotate(photo_folder, "-o", tmp_path / "padded", "--box-padding", 0.25)
    for before, (embedding, prompts) in zip(plain, asked, strict=True):
        height, width = embedding.image_size
        for old, new in zip(before.tolist(), prompts.boxes.tolist(), strict=True):
            w, h = old[2] - old[0], old[3] - old[1]
            assert new[:2] == pytest.approx([max(old[0] - w / 4, 0), max(old[1] - h / 4, 0)], abs=1e-3)
            assert new[2:] == pytest.approx([min(old[2] + w / 4, width), min(old[3] + h / 4, height)], abs=1e-3)
    for key, instances in records(tmp_path / "padded").items():
        assert {i.prompt_box for i in instances} <= {i.prompt_box for i in records(tmp_path / "plain")[key]}
    result = annotate(photo_folder, "-o", tmp_path / "plain", "--box-padding", 0.25)
    assert "--box-padding was not given, now 0.25" in result.stderr


def test_padding__that_is_negative_shrinks() -> None:
    boxes = np.array([[10, 20, 30, 60]], np.float32)
    assert padded(boxes, -0.1, (100, 100)).tolist() == [[12, 24, 28, 56]]
    assert padded(boxes, 1, (70, 45)).tolist() == [[0, 0, 45, 70]]


def test_best_mask_and_refine__give_the_masks_of_prompt(
    annotate, samcli_run, photo_folder, small_sam, tmp_path
) -> None:
    """`samcli prompt` with the boxes that the detector had found."""
    flags = ["--best-mask", "--refine", 2]
    annotate(photo_folder, "-o", tmp_path / "refined", *flags)
    wanted = records(tmp_path / "refined")["bus.jpg.json"]
    boxes = [word for one in wanted for word in ("--box", ",".join(map(repr, one.prompt_box)))]
    image = photo_folder / "bus.jpg"
    samcli_run(
        "prompt", image, "-o", tmp_path / "asked", "--sam", small_sam, "--precision", "fp32", *flags, *boxes
    )  # fmt: skip
    found = records(tmp_path / "asked")["bus.jpg.json"]
    annotate(photo_folder, "-o", tmp_path / "plain")
    plain = records(tmp_path / "plain")["bus.jpg.json"]
    assert min(mask_iou(a.mask, b.mask) for a, b in zip(found, wanted, strict=True)) > 0.995  # boxes were rounded
    assert min(mask_iou(a.mask, b.mask) for a, b in zip(plain, wanted, strict=True)) < 0.9


@pytest.mark.parametrize("flags", [["--box-padding", 0.1], ["--best-mask"], ["--refine", 1]])
def test_without_sam__there_is_nothing_to_prompt(annotate, photo_folder, yolo_seg, flags) -> None:
    result = annotate(photo_folder, "--det", yolo_seg, "--sam", "none", *flags)
    assert result.exit_code == 2
    assert f"{flags[0]} does not apply to --sam none" in result.stderr


def test_min_part_area__convert_and_reviews_leave_out_the_same_specks(
    annotate, samcli_run, photo_folder, tmp_path
) -> None:
    """Random weights give ragged masks, full of specks."""
    options = ("--max-det", 6, "--cross-class-iou", 1, "--format", "coco", "--format", "labelmap")
    annotate(photo_folder, *options, "--min-part-area", 0, "-o", tmp_path / "all")
    annotate(photo_folder, *options, "--min-part-area", "5%", "-o", tmp_path / "clean")
    records = (tmp_path / run / ".samcli/records/bus.jpg.json" for run in ("all", "clean"))
    found, clean = (read_record(record.read_bytes()) for record in records)
    assert [i.mask for i in clean.instances] == [i.mask for i in found.instances]
    assert any(i.quality.label_iou is not None for i in clean.instances)
    before, after = ((tmp_path / run / "bus.png").read_bytes() for run in ("all", "clean"))
    assert before != after
    samcli_run("convert", tmp_path / "clean", "--to", "labelmap", "--to", "coco", "-o", tmp_path / "converted")
    for file in ("bus.png", "zidane.png", "annotations.json"):
        assert (tmp_path / "converted" / file).read_bytes() == (tmp_path / "clean" / file).read_bytes(), file
