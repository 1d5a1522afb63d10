"""samcli convert: labels of a run or from elsewhere, in other formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from label_samples import ANNOTATIONS, HOLED, NAMES, SIZE, least_iou, read_all, write_images, write_labels

from samcli.config import ClassMapOptions, ConvertOptions
from samcli.errors import StorageError, UsageError
from samcli.labels.convert import Conversion, convert
from samcli.labels.formats.reading import readable_formats
from samcli.output.journal import Journal
from samcli.output.layout import Layout
from samcli.output.manifest import Manifest, Recipe, write_manifest
from samcli.output.records import write_record
from samcli.types import Annotation, ImageRef, Instance, Outcome, Status


def to(*formats: str, **options) -> ConvertOptions:
    return ConvertOptions.of(format=formats, **options)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", ANNOTATIONS)


@pytest.fixture
def run_folder(tmp_path: Path, images: Path) -> Path:
    """The output folder of a run over `images`, in which one more image failed."""
    layout = Layout(images, tmp_path / "labels")
    manifest = Manifest(Recipe({"command": "auto-annotate"}), "f" * 64, "../images", names=NAMES)
    write_manifest(layout.manifest, manifest)
    with Journal(layout.journal, manifest.run) as journal:
        for annotation in ANNOTATIONS:
            path = Path(layout.record(annotation.key))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(write_record(annotation, NAMES))
            journal.append(Outcome(ImageRef(images, annotation.key), Status.DONE))
        journal.append(Outcome(ImageRef(images, "bad.png"), Status.FAILED, error="no image"))
    return layout.output


# from a run


def test_run__is_converted_from_its_records_and_not_from_its_labels(run_folder: Path, tmp_path: Path) -> None:
    (run_folder / "nothing.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    conversion = convert(run_folder, tmp_path / "out", to("coco"))
    assert (conversion.source_format, conversion.images, conversion.instances) == ("records", 4, 6)
    assert read_all("coco", tmp_path / "out", None) == (NAMES, ANNOTATIONS)
    assert conversion.exit_status == 0
    assert conversion.notes == ["1 failed images of the run have no labels"]


def test_run__with_a_damaged_record_fails_that_image_alone(run_folder: Path, tmp_path: Path) -> None:
    Path(Layout(run_folder, run_folder).record("nothing.png")).write_text("{")
    conversion = convert(run_folder, tmp_path / "out", to("yolo"))
    assert list(conversion.failures) == ["nothing.png"]
    assert (conversion.images, conversion.exit_status) == (3, 3)
    assert not (tmp_path / "out" / "nothing.txt").exists()
    assert (tmp_path / "out" / "x.y.txt").exists()


def test_several_formats__at_once(run_folder: Path, tmp_path: Path) -> None:
    conversion = convert(run_folder, tmp_path / "out", to("coco", "yolo", "voc", "labelstudio", "png"))
    assert conversion.images == 4
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"annotations.json", "data.yaml", "labelmap.txt", "labelstudio.json", "instances", "a b"}


def test_yolo__beside_the_images_is_ready_for_a_trainer(run_folder: Path, images: Path, tmp_path: Path) -> None:
    import yaml

    coco = convert(run_folder, tmp_path / "coco", to("coco")).output
    convert(coco, tmp_path / "else" / "labels", to("yolo", images=str(images)))
    assert yaml.safe_load((tmp_path / "else" / "labels" / "data.yaml").read_text("utf-8")) == {"names": NAMES}
    run_folder.rename(tmp_path / "run")
    convert(coco, tmp_path / "labels", to("yolo", images=str(images)))
    content = yaml.safe_load((tmp_path / "labels" / "data.yaml").read_text("utf-8"))
    assert content == {"train": "../images", "val": "../images", "names": NAMES}


def test_labelme__names_the_images_as_seen_from_its_files(run_folder: Path, tmp_path: Path) -> None:
    convert(run_folder, tmp_path / "deep" / "out", to("labelme"))
    for annotation in ANNOTATIONS:
        file = (tmp_path / "deep" / "out" / annotation.key).with_suffix(".json")
        assert (
            file.parent / json.loads(file.read_text())["imagePath"]
        ).resolve() == tmp_path / "images" / annotation.key


def test_overlays__are_made_of_records_and_images(run_folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    convert(run_folder, tmp_path / "out", to("overlay"))
    with Image.open(tmp_path / "out" / "x.y.overlay.jpg") as picture:
        assert picture.size == SIZE[::-1]


# between formats


@pytest.mark.parametrize("target", ["coco", "yolo", "labelme", "voc"])
@pytest.mark.parametrize("source", sorted(readable_formats()))
def test_any_format__becomes_any_other(source: str, target: str, images: Path, tmp_path: Path) -> None:
    labels = write_labels(source, tmp_path, ANNOTATIONS[:3])
    options = to(target, source_format=source, images=str(images))
    conversion = convert(labels, tmp_path / "out", options)
    assert (conversion.images, conversion.instances, conversion.failures) == (3, 4, {})
    _, found = read_all(target, tmp_path / "out", images)
    assert [annotation.key for annotation in found] == [annotation.key for annotation in ANNOTATIONS[:3]]
    if source != "yolo-box":
        assert min(least_iou(a, b) for a, b in zip(ANNOTATIONS[:3], found, strict=True)) >= 0.96


def test_output__is_beside_the_labels_where_none_is_said(run_folder: Path, tmp_path: Path) -> None:
    assert convert(run_folder, None, to("coco")).output == tmp_path / "labels-coco"
    assert convert(tmp_path / "labels-coco" / "annotations.json", None, to("sa1b")).output == (
        tmp_path / "labels-coco" / "annotations-sa1b"
    )


@pytest.mark.parametrize("format_name", ["yolo", "rle", "png", "masks"])
def test_formats_that_name_no_images__are_refused_without_their_folder(format_name: str, tmp_path: Path) -> None:
    labels = write_labels(format_name, tmp_path, ANNOTATIONS)
    with pytest.raises(UsageError, match="give the folder with --images"):
        convert(labels, tmp_path / "out", to("coco", source_format=format_name))


def test_labels_of_images_that_are_gone__are_failures(images: Path, tmp_path: Path) -> None:
    labels = write_labels("yolo", tmp_path, ANNOTATIONS)
    (images / "nothing.png").unlink()
    conversion = convert(labels, tmp_path / "out", to("coco"))
    assert list(conversion.failures) == ["nothing.txt"]
    assert conversion.exit_status == 3


def test_images_without_labels__are_left_out_and_counted(images: Path, tmp_path: Path) -> None:
    labels = write_labels("yolo", tmp_path, ANNOTATIONS[1:])
    conversion = convert(labels, tmp_path / "out", to("coco"))
    assert conversion.images == 3
    assert conversion.notes == ["1 images have no labels and were left out"]


def test_damaged_labels__fail_their_image_alone(images: Path, tmp_path: Path) -> None:
    labels = write_labels("yolo", tmp_path, ANNOTATIONS)
    (labels / "nothing.txt").write_text("0 0.5 0.5 7 0.1\n")
    conversion = convert(labels, tmp_path / "out", to("coco", source_format="yolo"))
    assert conversion.images == 3
    reason = conversion.failures["nothing.png"]
    assert "'7'; expected numbers from 0 to 1" in reason and "nothing.txt:1" in reason


# what a format cannot hold


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        ("coco", []),
        (
            "yolo",
            [
                # its parts are joined
                "yolo: 1 polygon could not reach --min-polygon-iou 0.98 (first: x.y.png)",
                "yolo has no field for scores and quality metrics: dropped for 6 objects",
            ],
        ),
        (
            "yolo-box",
            [
                "yolo-box stores only boxes: masks dropped for 6 objects",
                "yolo-box has no field for scores and quality metrics: dropped for 6 objects",
            ],
        ),
        ("sa1b", ["sa1b has no field for classes: dropped for 6 objects"]),
    ],
)
def test_losses__are_named_in_a_line(target: str, lines: list[str], images: Path, tmp_path: Path) -> None:
    coco = write_labels("coco", tmp_path, ANNOTATIONS)
    assert convert(coco, tmp_path / "out", to(target)).notes == lines


def one(tmp_path: Path, target: str, *instances: Instance, **options) -> Conversion:
    labels = write_labels("coco", tmp_path, [Annotation("1.png", SIZE, instances)])
    return convert(labels, tmp_path / "out", to(target, **options))


def test_losses__of_overlaps_borders_and_repeated_masks_are_counted(tmp_path: Path) -> None:
    holed, inside = Instance(HOLED, 0), Instance(ANNOTATIONS[1].instances[0].mask, 1)
    assert one(tmp_path / "a", "png", holed, holed).notes == [
        "png stores one object per pixel: 1 object partly or wholly covered by others"
    ]
    assert one(tmp_path / "b", "yolo", holed, holed, inside).notes == [
        "yolo stores equal rows once: 1 object with the class and the pixels of another merged"
    ]
    assert one(tmp_path / "c", "yolo", holed, inside, holes="fill").notes == [
        "yolo: 1 polygon could not reach --min-polygon-iou 0.98 (first: 1.png)"
    ]


# refusals


def test_two_images_with_one_label_name__the_second_fails_or_gets_its_whole_name(tmp_path: Path) -> None:
    twins = [Annotation(key, SIZE, (Instance(HOLED, 0),)) for key in ("1.jpg", "1.png")]
    labels = write_labels("coco", tmp_path, twins)
    conversion = convert(labels, tmp_path / "out", to("yolo"))
    assert conversion.failures["1.png"].startswith("its label file would be that of 1.jpg")
    convert(labels, tmp_path / "both", to("yolo", on_collision="suffix"))
    assert sorted(path.name for path in (tmp_path / "both").glob("*.txt")) == ["1.png.txt", "1.txt"]
    assert convert(labels, tmp_path / "again", to("coco")).failures == {}


def test_images_without_suffix__keep_their_whole_names(tmp_path: Path) -> None:
    keys = ("a.b/1", "a.b/2", "plain")
    labels = write_labels("coco", tmp_path, [Annotation(key, SIZE, (Instance(HOLED, 0),)) for key in keys])
    assert convert(labels, tmp_path / "out", to("yolo")).failures == {}
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.txt"))
    assert found == ["a.b/1.txt", "a.b/2.txt", "plain.txt"]


def test_files_that_cannot_be_written__fail_their_image_alone(tmp_path: Path) -> None:
    long = "d" * 300 + "/2.png"
    labels = write_labels("coco", tmp_path, [Annotation(key, SIZE) for key in ("1.png", long, "e.png")])
    (tmp_path / "out" / "e" / "somebody's").mkdir(parents=True)
    conversion = convert(labels, tmp_path / "out", to("masks", overwrite=True))
    assert (conversion.images, conversion.exit_status) == (1, 3)
    assert "File name too long" in conversion.failures[long]
    assert "samcli did not write" in conversion.failures["e.png"]


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_output_that_cannot_be_written__is_refused_at_once(tmp_path: Path, samcli_run, more) -> None:
    labels = write_labels("coco", tmp_path, [Annotation("1.png", SIZE)])
    (tmp_path / "file").touch()
    result = samcli_run("convert", labels, "--to", "yolo", "-o", tmp_path / "file" / "v", *more)
    assert result.exit_code == 2
    assert f"cannot write in {tmp_path / 'file'}: Not a directory" in result.stderr


def test_json_of_another_kind__is_said_to_be_so_and_not_in_the_words_of_python(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text('{"image": "a.jpg", "annotations": []}')
    conversion = convert(tmp_path / "in", tmp_path / "out", to("yolo", source_format="sa1b"))
    assert "a.json: not of this format" in conversion.failures["a.json"]
    assert "indices" not in conversion.failures["a.json"]


def test_full_disk__ends_the_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = write_labels("coco", tmp_path, [Annotation("1.png", SIZE)])

    def full(path: Path, files: object) -> None:
        raise StorageError("no room")

    monkeypatch.setattr("samcli.labels.convert.write_files", full)
    with pytest.raises(StorageError):
        convert(labels, tmp_path / "out", to("yolo"))


def test_an_image_whose_label_would_be_the_file_for_all_images__fails(tmp_path: Path) -> None:
    labels = write_labels("voc", tmp_path, [Annotation("annotations.jpg", SIZE), Annotation("b.jpg", SIZE)])
    conversion = convert(labels, tmp_path / "out", to("coco", "sa1b"))
    assert list(conversion.failures) == ["annotations.jpg"]
    assert "the annotations.json of all images" in conversion.failures["annotations.jpg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (to(), "no --to: give the format"),
        (to("yolo", "yolo-box"), "yolo and yolo-box both write <image>.txt"),
        (to("coco", "coco-polygon"), "coco and coco-polygon both write annotations.json"),
        (to("logits"), "Run with --format logits"),
        (to("coco", source_format="yollo"), "Did you mean 'yolo'?"),
        (to("coco", source_format="edges"), "--from is 'edges'; expected one of records, yolo"),
        (to("coco", images="nowhere"), "--images nowhere is not a folder"),
    ],
)
def test_options_that_make_no_sense__are_refused(options, message: str, images: Path, tmp_path: Path) -> None:
    labels = write_labels("yolo", tmp_path, ANNOTATIONS)
    with pytest.raises(UsageError) as error:
        convert(labels, tmp_path / "out", options)
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_source__that_is_not_there_or_holds_no_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        convert(tmp_path / "nowhere", None, to("coco"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no labels found"):
        convert(tmp_path / "empty", None, to("coco"))
    with pytest.raises(UsageError, match="no run in"):
        convert(tmp_path / "empty", None, to("coco", source_format="records"))


def test_output__that_is_not_empty_is_refused_and_a_run_always(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(UsageError, match="is not empty"):
        convert(run_folder, tmp_path / "out", to("coco"))
    convert(run_folder, tmp_path / "out", to("coco", overwrite=True))
    assert (tmp_path / "out" / "mine.txt").exists()
    with pytest.raises(UsageError, match="is the output folder of a run"):
        convert(tmp_path / "out" / "annotations.json", run_folder, to("yolo", overwrite=True))


# the command


def test_command__prints_what_became_of_it_and_ends_with_3_where_images_failed(
    run_folder: Path, tmp_path: Path, samcli_run
) -> None:
    done = samcli_run("convert", run_folder, "--to", "yolo-box", "-o", tmp_path / "out")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "4 images, 6 objects: records -> yolo-box",
        "1 failed images of the run have no labels",
        "yolo-box stores only boxes: masks dropped for 6 objects",
        "yolo-box has no field for scores and quality metrics: dropped for 6 objects",
        f"written to {tmp_path / 'out'}",
    ]
    (tmp_path / "images" / "nothing.png").unlink()
    done = samcli_run(
        "convert", tmp_path / "out", "--from", "yolo-box", "--images", tmp_path / "images", "--to", "coco", "--json"
    )
    assert done.exit_code == 3
    result = json.loads(done.stdout)
    assert (result["images"], result["source_format"], result["formats"]) == (3, "yolo-box", ["coco"])
    assert list(result["failures"]) == ["nothing.txt"]


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("target", ["yolo", "coco", "voc", "cvat", "masks"])
def test_dry_run__says_what_would_be_written_and_lost_and_writes_nothing(
    target: str, run_folder: Path, tmp_path: Path, samcli_run
) -> None:
    (tmp_path / "images" / "x.y.jpg").touch()
    Path(Layout(run_folder, run_folder).record("nothing.png")).write_text("{")
    before = files_below(tmp_path)
    asked = ("convert", run_folder, "--to", target, "-o", tmp_path / "out")
    dry = samcli_run(*asked, "--dry-run")
    assert files_below(tmp_path) == before
    assert not (tmp_path / "out").exists()
    done = samcli_run(*asked)
    *said, _ = done.stdout.splitlines()
    *foretold, dry_end = dry.stdout.splitlines()
    assert (foretold, dry.exit_code) == (said, done.exit_code) != ([], 0)
    written = files_below(tmp_path / "out")
    count = len({str(Path(name).parent) for name in written}) if target == "masks" else len(written)
    assert dry_end == f"would write {count} file{'' if count == 1 else 's'} to {tmp_path / 'out'}"
    assert samcli_run(*asked, "--dry-run").exit_code == 2  # no longer empty


def test_command__points_from_format_to_to(run_folder: Path, samcli_run) -> None:
    done = samcli_run("convert", run_folder, "--format", "coco")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "--to coco" in done.stderr
    assert "--format" not in samcli_run("convert", "--help").stdout


def test_command__refuses_in_a_line_with_status_2(tmp_path: Path, samcli_run) -> None:
    done = samcli_run("convert", tmp_path, "--to", "coco")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"samcli: no labels found in {tmp_path}; give their format with --from records")


def test_class_map__speaks_of_numbers_where_labels_have_no_names(tmp_path: Path) -> None:
    write_images(tmp_path / "images", [Annotation("a.png", (20, 30))])
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("4 .5 .5 .2 .2\n0 .2 .2 .1 .1\n")
    (tmp_path / "map.yaml").write_text("4: dog\n'0':\n")
    options = ConvertOptions(format=("yolo-box",), class_mapping=ClassMapOptions(str(tmp_path / "map.yaml")))
    assert convert(tmp_path / "labels", tmp_path / "out", options).failures == {}
    assert (tmp_path / "out" / "a.txt").read_text() == "0 0.500000 0.500000 0.200000 0.200000\n"


def test_objects_without_pixels__give_no_empty_label(tmp_path: Path) -> None:
    write_images(tmp_path / "images", [Annotation("a.png", (20, 30))])
    line = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[5, 5, 15, 5, 25, 5]]}
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [line], "categories": [{"id": 1}]}
    (tmp_path / "c.json").write_text(json.dumps(content))
    done = convert(tmp_path / "c.json", tmp_path / "out", ConvertOptions(format=("yolo",)))
    assert "none of its 1 objects has pixels" in done.failures["a.png"]
    assert not (tmp_path / "out" / "a.txt").exists()


def test_images_that_are_not_known__are_said_once(tmp_path: Path, samcli_run) -> None:
    box = '<box label="cat" xtl="1" ytl="1" xbr="9" ybr="9"/>'
    xml = f'<annotations><image name="a.jpg" width="30" height="20">{box}</image></annotations>'
    (tmp_path / "x.xml").write_text(xml)
    done = samcli_run("convert", tmp_path / "x.xml", "--to", "yolo", "--to", "coco", "-o", tmp_path / "out")
    assert (done.exit_code, done.stdout.count("no image folder found")) == (0, 1)
