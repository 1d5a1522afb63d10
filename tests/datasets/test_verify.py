"""verify looks at labels as a trainer will, says what is wrong, and mends what is safe to mend."""

from __future__ import annotations

import errno
import io
import json
from pathlib import Path

import numpy as np
import pytest
from finding import make_images, run
from PIL import Image

from samcli.config import VerifyOptions
from samcli.datasets.verify import _TRAINER_SUFFIXES, BACKUP_FOLDER, KINDS, verify_labels
from samcli.errors import UsageError
from samcli.images import SUFFIXES
from samcli.masks import Mask
from samcli.output.records import write_record
from samcli.types import Annotation, Instance

BOX = "0 0.5 0.5 0.2 0.2\n"
TRIANGLE = "1 0.1 0.1 0.5 0.1 0.3 0.6\n"
_file = io.BytesIO()
Image.new("RGB", (16, 12)).save(_file, "JPEG")
JPEG = _file.getvalue()
YAML = "train: images\nval: images\nnames: [cat, dog]\n"


def data_set(root: Path, labels: dict[str, str], images: list[str] | None = None, yaml: str | None = YAML) -> Path:
    """`labels` by key without suffix; an image for each, or those given."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for key, text in labels.items():
        path = root / "labels" / f"{key}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for key in images if images is not None else [f"{key}.jpg" for key in labels]:
        path = root / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG)
    if yaml is not None:
        (root / "data.yaml").write_text(yaml)
    return root


def found(root: Path, **options) -> dict[str, list[str]]:
    """Files by kind of finding."""
    findings: dict[str, list[str]] = {}
    verify_labels(
        root, VerifyOptions(**options), watch=lambda one: findings.setdefault(one.kind, []).append(one.file)
    )
    return findings


def test_clean_data_set__has_no_findings(tmp_path) -> None:
    root = data_set(tmp_path, {"a": TRIANGLE, "more/b": TRIANGLE, "nothing": ""})
    result = verify_labels(root, VerifyOptions())
    assert (result.tallies, result.exit_status, result.notes) == ({}, 0, [])
    assert (result.files, result.rows, result.objects, result.image_count) == (3, 2, 2, 3)
    assert (result.images, result.data) == (root / "images", root / "data.yaml")


def test_objects__are_the_rows_that_a_trainer_takes(tmp_path, samcli_run) -> None:
    root = data_set(tmp_path, {"a": TRIANGLE * 3 + BOX.replace("0", "1", 1), "b": TRIANGLE * 2, "c": TRIANGLE})
    (root / "labels" / "c.txt").write_text("0 7 7 7 7 7 7\n")
    result = verify_labels(root, VerifyOptions())
    assert (result.rows, result.objects, result.as_dict()["objects"]) == (7, 1, 1)  # of b, once
    assert "3 label files, 7 rows; the YOLO loader accepts 1 of them; 3 images" in samcli_run("verify", root).stdout


def test_rows__are_held_against_the_names_in_data_yaml(tmp_path) -> None:
    root = data_set(tmp_path, {"a": BOX.replace("0", "2", 1), "b": BOX})
    assert found(root) == {"class-unknown": ["a.txt"]}
    assert found(data_set(root, {}, yaml=YAML.replace("dog", "dog, bird"))) == {}


def test_labels_and_images__that_do_not_go_together(tmp_path) -> None:
    root = data_set(tmp_path, {"x/a": BOX, "x/b": BOX, "x/c": BOX}, ["x/a.jpg", "x/c.jpg", "x/c.png", "y/d.avif"])
    assert found(root) == {
        "label-without-image": ["x/b.txt"],
        "shared-label": ["x/c.txt"],
        "image-without-label": ["y/d.avif"],
    }


def test_images__of_the_trainer_are_all_known() -> None:
    from ultralytics.data.utils import IMG_FORMATS

    ours_alone = {".gif", ".j2k"}
    assert {f".{name}" for name in IMG_FORMATS} | (set(SUFFIXES) - ours_alone) == _TRAINER_SUFFIXES


@pytest.mark.parametrize("name", ["labels.txt", "labelmap.txt", "classes.txt", "ImageSets/Segmentation/train.txt"])
def test_lists_of_our_formats__are_no_labels_unless_an_image_has_that_name(tmp_path, name) -> None:
    root = data_set(tmp_path, {"a": BOX, name.removesuffix(".txt"): "these are labels"}, ["a.jpg"])
    assert found(root) == {}
    data_set(root, {}, [name.replace(".txt", ".jpg")])
    assert found(root)["not-a-number"] == [name]


def test_label_without_image__is_not_judged_as_no_trainer_reads_it(tmp_path) -> None:
    root = data_set(tmp_path, {"a": BOX, "readme": "these are labels"}, ["a.jpg"])
    assert found(root) == {"label-without-image": ["readme.txt"]}


def test_without_images__rows_are_judged_all_the_same(tmp_path) -> None:
    labels = data_set(tmp_path, {"a": "0 0.5"}).joinpath("labels").rename(tmp_path / "rows")
    result = verify_labels(labels, VerifyOptions())
    assert set(result.tallies) == {"wrong-count"}
    assert any("images not found" in note for note in result.notes)


def test_images_beside_labels__are_found(tmp_path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    (tmp_path / "b.jpg").write_bytes(JPEG)
    (tmp_path / "a.txt").write_text(BOX)
    (tmp_path / "classes.txt").write_text("cat\n")
    assert found(tmp_path) == {"image-without-label": ["b.jpg"]}


def test_mixed_data__names_the_files_that_are_fewer(tmp_path) -> None:
    assert found(data_set(tmp_path, {"a": TRIANGLE, "b": BOX, "c": TRIANGLE, "d": ""})) == {"mixed-data": ["b.txt"]}


def test_mixed_data__does_not_count_files_that_the_trainer_leaves_out(tmp_path) -> None:
    assert found(data_set(tmp_path, {"a": TRIANGLE, "b": "0 0.5 0.5 0.2 nan"})) == {"not-finite": ["b.txt"]}


def test_mixed_data__is_what_the_trainer_refuses(tmp_path, photos) -> None:
    from ultralytics.data.dataset import YOLODataset

    root = data_set(tmp_path, {"a": TRIANGLE, "b": BOX})
    for name in ("a", "b"):
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(root / "images" / f"{name}.jpg")
    assert set(found(root)) == {"mixed-data"}
    names = {"names": {0: "cat", 1: "dog"}}
    with pytest.raises(ValueError, match="equal numbers of boxes and segments"):
        YOLODataset(img_path=str(root / "images"), data=names, task="segment", imgsz=64)
    (root / "labels" / "b.txt").write_text(TRIANGLE)
    assert found(root) == {}
    assert len(YOLODataset(img_path=str(root / "images"), data=names, task="segment", imgsz=64)) == 2


def test_empty_data_sets__are_told_apart(tmp_path) -> None:
    assert set(found(data_set(tmp_path / "1", {"a": "", "b": "\n"}))) == {"no-objects"}
    assert set(found(data_set(tmp_path / "2", {}, ["a.jpg"]))) == {"no-labels", "image-without-label"}
    assert set(found(data_set(tmp_path / "3", {}))) == {"no-labels"}


def test_unreadable_label_file__is_a_finding_and_the_rest_goes_on(tmp_path) -> None:
    root = data_set(tmp_path, {"a": BOX, "b": "0 x"})
    (root / "labels" / "a.txt").unlink()
    (root / "labels" / "a.txt").symlink_to("nowhere.txt")
    assert found(root) == {"unreadable": ["a.txt"], "wrong-count": ["b.txt"], "not-a-number": ["b.txt"]}


@pytest.mark.parametrize(
    ("yaml", "kinds"),
    [
        ("train: images\nnames: [cat, dog]", {"data-yaml"}),
        ("train: images\nvalidation: images\nnames: [cat, dog]", set()),
        ("train: images\nval: images", {"data-yaml"}),
        ("train: images\nval: images\nnc: 2", set()),
        ("train: images\nval: images\nnames: {1: cat, 2: dog}", {"data-yaml"}),
        ("train: images\nval: images\nnames: {0: cat, 2: dog}", {"data-yaml"}),
        ("train: images\nval: images\nnames: [cat, dog]\nnc: 3", {"data-yaml"}),
        ("train: images\nval: images\nnames: []", {"data-yaml"}),
        ("train: images\nval: elsewhere\nnames: [cat, dog]", {"path-missing"}),
        ("train: [images, elsewhere]\nval: images\nnames: [cat, dog]", {"path-missing"}),
        ("path: nowhere\ntrain: images\nval: images\nnames: [cat, dog]", {"path-missing"}),
        ("path: ..\ntrain: data/images\nval: data/images\nnames: [cat, dog]", set()),
    ],
)
def test_data_yaml__is_judged(tmp_path, yaml, kinds) -> None:
    assert set(found(data_set(tmp_path / "data", {"a": TRIANGLE}, yaml=yaml))) == kinds


TRAINER_YAMLS = [
    *(f"train: images\nval: images\nnames: {names}" for names in (
        "[cat, dog]", "{0: cat, 1: dog}", "{1: cat, 2: dog}", "{0: a, 2: b}", "[]", "{}", "{'0': a, '1': b}",
        "{0: a, -1: b}", "{-1: a, -2: b}", "{0.5: a}", "{x: a}", "[1, 2.5, null, true]", "cat", "3",
        "[[a], {b: c}]", "", "[cat, cat]",
    )),
    *(f"train: images\nval: images\nnc: {nc}" for nc in (
        "2", "'2'", "2.0", "2.5", "", "x", "0", "-1", "true", ".inf"
    )),
    "train: images\nval: images\nnames: [cat, dog]\nnc: '2'",
    "train: images\nval: images\nnames: [cat, dog]\nnc: 3",
    "train: images\nval: images\nnames: [cat, dog]\nnc:",
    "train: images\nval: images\nnames: [cat]\npath: 5",
    "train: images\nval: 5\nnames: [cat]",
    "train: images\nval: [images, 5]\nnames: [cat]",
    "train: images\nval: [images, images]\nnames: [cat]",
    "train: images\nval:\nnames: [cat]",
    "train: images\nval: ../images\nnames: [cat]",
    "train: ../images\nval: [../images]\nnames: [cat]",
    "train: images\nval: images/a.jpg\nnames: [cat]",
    "train: images\nval: nowhere\nnames: [cat]",
    "train: images\nval: images\ntest: nowhere\nnames: [cat]",
    "train: images\nval: images\ntest: 7\nnames: [cat]",
    "train: images\nval: images\nnames: [c\xe9]",
    "train: images\nval: images\nnames: [c\x01t]",
    "val: images\nnames: [cat]",
    "train: images\nvalidation: images\nnames: [cat]",
    "train: images\nvalidation: nowhere\nnames: [cat]",
    "train: [images]\nval: images\nextra: 1\nnames: [cat]",
    "",
]  # fmt: skip


@pytest.mark.parametrize("text", TRAINER_YAMLS)
def test_data_yaml__agrees_with_the_trainer(tmp_path, photos, text) -> None:
    from ultralytics.data.utils import check_det_dataset

    root = data_set(tmp_path, {"a": TRIANGLE.replace("1", "0", 1)}, yaml="")
    (root / "data.yaml").write_bytes(text.encode("latin-1"))
    try:
        check_det_dataset(root / "data.yaml", autodownload=False)
        refused = ""
    except Exception as error:
        refused = str(error)
    kinds = set(found(root)) & {"data-yaml", "path-missing"}
    assert bool(kinds) == bool(refused), (kinds, refused)


def test_data_yaml__of_a_run_whose_labels_are_not_beside_the_images_is_no_error(tmp_path) -> None:
    folder = make_images(tmp_path / "data")
    run(folder, tmp_path / "out")
    result = verify_labels(tmp_path / "out", VerifyOptions(strict=True))
    assert (result.tallies, result.exit_status) == ({}, 0)
    assert any("class names only" in note and "samcli dataset" in note for note in result.notes)
    (tmp_path / "out" / "data.yaml").write_text("train: images\nnames: [cat]\n")
    assert "data-yaml" in found(tmp_path / "out"), "of a file that names some images all are judged"


def test_data_yaml__of_another_kind_is_refused_without_python_text(tmp_path, samcli_run) -> None:
    for text in ("- train\n- val\n", "5", "train: [\n"):
        result = samcli_run("verify", data_set(tmp_path, {"a": BOX}, yaml=text))
        assert result.exit_code == 2
        assert "data.yaml" in result.stderr
        assert "NoneType" not in result.stderr and "list" not in result.stderr


def test_data_yaml__that_names_a_test_folder_that_is_absent_is_fit_to_train(tmp_path) -> None:
    root = data_set(tmp_path, {"a": TRIANGLE}, yaml=YAML + "test: ../test/images\n")
    result = verify_labels(root, VerifyOptions())
    assert result.tallies == {}
    assert result.notes == ["data.yaml: no test images in ../test/images"]


def encoded(kind: str, size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).save(file, kind)
    return file.getvalue()


IMAGES = {
    "sound.jpg": (encoded("JPEG"), None),
    "sound.png": (encoded("PNG"), None),
    "sound.webp": (encoded("WEBP"), None),
    "sound.bmp": (encoded("BMP"), None),
    "sound.tif": (encoded("TIFF"), None),
    "png_named.jpg": (encoded("PNG"), None),
    "ten.jpg": (encoded("JPEG", (10, 10)), None),
    "nine.jpg": (encoded("JPEG", (40, 9)), "image-too-small"),
    "narrow.png": (encoded("PNG", (9, 40)), "image-too-small"),
    "half.jpg": (encoded("JPEG")[:-300], "image-damaged"),
    "half.png": (encoded("PNG")[:-300], "image-damaged"),
    "text.jpg": (b"this is text", "image-damaged"),
    "empty.png": (b"", "image-damaged"),
    "one_byte.jpg": (b"x", "image-damaged"),
    "gif.jpg": (encoded("GIF"), "image-format"),
    "trailer.jpg": (encoded("JPEG") + b"phone's trailer", "image-rewritten"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images__are_judged_as_the_trainer_judges_them(tmp_path, name, monkeypatch) -> None:
    from ultralytics.data.utils import verify_image_label
    from ultralytics.utils import checks

    def refuse(requirement: str) -> None:
        raise OSError(f"{requirement} is not installed by a test")

    monkeypatch.setattr(checks, "check_requirements", refuse)
    data, kind = IMAGES[name]
    root = data_set(tmp_path, {"a": TRIANGLE}, [], yaml="train: images\nval: images\nnames: [cat, dog]")
    image = root / "images" / f"a{Path(name).suffix}"
    image.write_bytes(data)
    result = verify_labels(root, VerifyOptions())
    assert set(result.tallies) == ({kind} if kind else set())
    assert image.read_bytes() == data, "verify changes no image"
    taken = verify_image_label((str(image), str(root / "labels" / "a.txt"), "", False, 2, 0, 0, False))[8] == 0
    assert result.objects == int(taken)
    assert taken == (kind in (None, "image-rewritten"))


@pytest.mark.parametrize("kind", ["BMP", "WEBP"])
def test_images__that_end_a_training_are_told(tmp_path, kind) -> None:
    root = data_set(tmp_path, {"a": TRIANGLE})
    (root / "images" / "a.jpg").write_bytes(encoded(kind)[:-400])
    assert found(root) == {"image-damaged": ["a.jpg"]}


def test_images__are_not_opened_where_their_kinds_are_ignored(tmp_path) -> None:
    root = data_set(tmp_path, {"a": TRIANGLE})
    (root / "images" / "a.jpg").write_bytes(b"")
    kinds = ("image-damaged", "image-too-small", "image-format", "image-rewritten")
    assert found(root, ignore=kinds) == {}
    assert found(root, ignore=kinds[1:]) == {"image-damaged": ["a.jpg"]}


def test_darknet_layout__has_no_labels_in_its_list_of_images(tmp_path) -> None:
    (tmp_path / "obj_train_data").mkdir()
    (tmp_path / "obj_train_data" / "a.jpg").write_bytes(JPEG)
    (tmp_path / "obj_train_data" / "a.txt").write_text(BOX)
    (tmp_path / "train.txt").write_text("data/obj_train_data/a.jpg\n")
    (tmp_path / "more.txt").write_text("data/obj_train_data/a.jpg\n\ndata/obj_train_data/b.png\n")
    result = verify_labels(tmp_path, VerifyOptions())
    assert result.tallies == {}
    assert (result.files, result.objects, result.image_count) == (1, 1, 1)
    (tmp_path / "obj_train_data" / "a.jpg").unlink()
    result = verify_labels(tmp_path, VerifyOptions())
    assert (set(result.tallies), result.files) == (set(), 1)


def test_list_of_images__is_a_label_file_where_an_image_has_its_name(tmp_path) -> None:
    root = data_set(tmp_path, {"a": BOX, "train": "images/a.jpg\n"})
    assert "not-a-number" in found(root)


def test_split_folders__with_images_and_labels_of_their_own_go_together(tmp_path) -> None:
    for split in ("train", "valid"):
        for folder in ("images", "labels"):
            (tmp_path / split / folder).mkdir(parents=True)
        (tmp_path / split / "images" / "a.jpg").write_bytes(JPEG)
        (tmp_path / split / "labels" / "a.txt").write_text(BOX)
    (tmp_path / "valid" / "labels" / "a.txt").unlink()
    (tmp_path / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['cat']\n")
    result = verify_labels(tmp_path, VerifyOptions())
    assert set(result.tallies) == {"image-without-label"}
    assert result.tallies["image-without-label"].examples == ["valid/images/a.jpg"]
    assert (result.files, result.objects, result.image_count) == (1, 1, 2)


def test_split_folders__go_together_where_the_images_are_named_by_a_relative_path(tmp_path, monkeypatch) -> None:
    for folder, name in (("images", "a.jpg"), ("labels", "a.txt")):
        (tmp_path / "set" / "train" / folder).mkdir(parents=True)
        (tmp_path / "set" / "train" / folder / name).write_bytes(b"" if name == "a.jpg" else b"0 .5 .5 .5 .5\n")
    monkeypatch.chdir(tmp_path)
    result = verify_labels(Path("set"), VerifyOptions(), images=Path("set"))
    assert (result.files, result.image_count) == (1, 1)
    assert not {"no-labels", "label-without-image"} & set(result.tallies)


def test_data_yaml__of_key_points_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="key points"):
        found(data_set(tmp_path, {"a": BOX}, yaml=YAML + "kpt_shape: [17, 3]\n"))


def test_records__tell_masks_that_fill_little_of_their_box(tmp_path) -> None:
    root = data_set(tmp_path, {"a": TRIANGLE}, yaml=YAML)
    pixels = np.zeros((100, 100), bool)
    pixels[:5, :10] = True  # 50 pixels
    boxes = [(0.0, 0.0, 20.0, 20.0), (0.0, 0.0, 30.0, 30.0), None]  # it fills 12.5%, 5.6%
    instances = tuple(Instance(Mask.from_pixels(pixels), 0, prompt_box=box) for box in boxes)
    record = root / "labels" / ".samcli" / "records" / "a.jpg.json"
    record.parent.mkdir(parents=True)
    record.write_bytes(write_record(Annotation("a.jpg", (100, 100), instances), {0: "cat"}))
    assert found(root) == {"box-far-larger": ["a.jpg"]}
    assert found(root, min_fill=0.05) == {}
    assert found(root, min_fill=0.2) == {"box-far-larger": ["a.jpg", "a.jpg"]}


def test_ignore__leaves_out_a_kind_and_knows_them_all(tmp_path) -> None:
    root = data_set(tmp_path, {"a": BOX, "b": BOX * 2})
    assert found(root, ignore=("duplicate-row",)) == {}
    with pytest.raises(UsageError, match=r"expected one of data-yaml, .* Did you mean 'duplicate-row'"):
        found(root, ignore=("duplicate-rows",))


def test_fix__mends_keeps_the_originals_and_leaves_other_files_alone(tmp_path) -> None:
    root = data_set(tmp_path, {"x/a": BOX + TRIANGLE, "b": TRIANGLE, "c": BOX.replace("0", "7", 1) + TRIANGLE * 2})
    untouched = (root / "labels" / "b.txt").stat()
    originals = {key: (root / "labels" / key).read_bytes() for key in ("x/a.txt", "c.txt")}
    result = verify_labels(root, VerifyOptions(), fix=True)
    assert result.fixed == {"mixed-rows": 2, "duplicate-row": 1}
    assert result.backup is not None
    assert result.backup.parent == root / "labels" / BACKUP_FOLDER
    backed_up = {p.relative_to(result.backup).as_posix(): p.read_bytes() for p in result.backup.rglob("*.txt")}
    assert backed_up == originals
    assert (root / "labels" / "b.txt").stat().st_mtime_ns == untouched.st_mtime_ns
    assert set(result.tallies) == {"class-unknown"}, "what cannot be mended is still told"
    again = verify_labels(root, VerifyOptions(), fix=True)
    assert (again.fixed_files, again.backup, set(again.tallies)) == (0, None, {"class-unknown"})


def test_fix__never_overwrites_an_earlier_backup(tmp_path) -> None:
    root = data_set(tmp_path, {"a": BOX * 2})
    first = verify_labels(root, VerifyOptions(), fix=True).backup
    (root / "labels" / "a.txt").write_text(BOX * 3)
    second = verify_labels(root, VerifyOptions(), fix=True).backup
    assert first != second
    assert (first / "a.txt").read_text() == BOX * 2
    assert (second / "a.txt").read_text() == BOX * 3


def test_fix__of_a_linked_file_changes_what_the_link_leads_to(tmp_path) -> None:
    root = data_set(tmp_path, {"a": ""})
    (tmp_path / "store.txt").write_text(BOX * 2)
    label = root / "labels" / "a.txt"
    label.unlink()
    label.symlink_to(tmp_path / "store.txt")
    verify_labels(root, VerifyOptions(), fix=True)
    assert label.is_symlink()
    assert (tmp_path / "store.txt").read_text() == BOX


def test_folder_linked_into_itself__is_walked_once(tmp_path) -> None:
    root = data_set(tmp_path, {"x/a": BOX * 2})
    (root / "labels" / "x" / "again").symlink_to(root / "labels", target_is_directory=True)
    assert found(root) == {"duplicate-row": ["x/a.txt"]}


def test_command__prints_a_table_and_ends_with_3_for_errors_or_where_strict(tmp_path, samcli_run) -> None:
    root = data_set(tmp_path, {f"{i}": BOX * 2 for i in range(5)})
    result = samcli_run("verify", root)
    assert (result.exit_code, samcli_run("verify", root, "--strict").exit_code) == (0, 3)
    assert f"samcli verify {root / 'labels'} --fix" in result.stderr
    (root / "labels" / "0.txt").write_text("0 0.5 0.5 7 7\n")
    assert samcli_run("verify", root).exit_code == 3
    (root / "labels" / "0.txt").write_text(BOX * 2)
    assert "duplicate-row" in result.stdout
    assert "0 errors, 5 warnings" in result.stdout
    assert samcli_run("verify", root, "--fix").exit_code == 0
    assert "No problems found" in samcli_run("verify", root).stdout


def test_command__lists_every_finding_with_its_line(tmp_path, samcli_run) -> None:
    root = data_set(tmp_path, {f"{i}": BOX * 2 for i in range(5)})
    lines = samcli_run("verify", root, "--list").stdout.splitlines()
    assert lines[:2] == [f"{i}.txt:2: warning: duplicate-row: the same as line 1" for i in range(2)]
    assert sum("duplicate-row: the same" in line for line in lines) == 5


def test_command__in_json(tmp_path, samcli_run) -> None:
    root = data_set(tmp_path, {"a": BOX * 2, "b": "0 nan 0 0 0"})
    facts = json.loads(samcli_run("verify", root, "--json").stdout)
    assert (facts["errors"], facts["warnings"], facts["label_files"], facts["rows"]) == (1, 1, 2, 3)
    assert list(facts["findings"]) == ["not-finite", "duplicate-row"], "the worst first"
    assert facts["findings"]["duplicate-row"]["examples"] == ["a.txt"]
    lines = [json.loads(line) for line in samcli_run("verify", root, "--json", "--list").stdout.splitlines()]
    assert [line.get("kind") for line in lines] == ["duplicate-row", "not-finite", None]
    assert lines[-1] == facts


def test_command__of_a_file_that_is_no_folder_is_refused(tmp_path, samcli_run) -> None:
    assert samcli_run("verify", tmp_path / "none").exit_code == 2


def test_kinds__are_all_explained_in_the_docs() -> None:
    page = Path(__file__).parents[2] / "docs" / "verify-eval.md"
    if not page.is_file():
        pytest.skip("the docs are in the repository only")
    text = page.read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"`{kind}`" not in text] == []


def test_counts__of_one_are_singular(tmp_path, samcli_run) -> None:
    root = data_set(tmp_path, {"a": TRIANGLE * 2, "b": "0 nan 0.5 0.2 0.2\n"})
    assert "1 error, 1 warning." in samcli_run("verify", root).stdout


def test_fix__of_labels_that_cannot_be_written_names_their_folder(tmp_path, samcli_run, monkeypatch) -> None:
    root = data_set(tmp_path, {"a": TRIANGLE * 2})

    def refuse(**options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", f"{options['dir']}/.samcli-abc.tmp")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    result = samcli_run("verify", root, "--fix")
    assert result.exit_code == 2
    assert f"cannot write in {root / 'labels'}" in result.stderr
    assert "Errno" not in result.stderr
    assert (root / "labels" / "a.txt").read_text() == TRIANGLE * 2


@pytest.mark.parametrize("file", ["obj.names", "classes.txt", "other.yaml"])
def test_class_ids__are_held_against_the_names_that_the_other_commands_read(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "obj_train_data"
    folder.mkdir()
    (folder / "a.txt").write_text("1 .5 .5 .2 .2\n")
    (tmp_path / file).write_text("names: [cat]\n" if file.endswith("yaml") else "cat\n")
    found = verify_labels(tmp_path, VerifyOptions())
    assert found.tallies["class-unknown"].count == 1
    assert any(file in note for note in found.notes)


def test_labels_of_another_format__are_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text("<annotations/>")
    with pytest.raises(UsageError, match=r"holds labels of the format cvat; samcli convert .* --to yolo"):
        verify_labels(tmp_path, VerifyOptions())
    with pytest.raises(UsageError, match="holds labels of the format cvat"):
        verify_labels(tmp_path / "annotations.xml", VerifyOptions())


@pytest.mark.parametrize(
    ("root", "found", "told"),
    [("", True, False), ("{whole}", True, False), ("../set", True, True), ("nowhere", False, True)],
)
def test_path_in_data_yaml__is_the_file_s_own_folder_the_whole_one_or_told(
    root: str, found: bool, told: bool, tmp_path: Path, cache: Path
) -> None:
    """Ultralytics takes what is absent for the file's folder, and looks for relative paths where it is started."""
    from samcli.checkpoints.ultralytics_setup import prepare_ultralytics

    prepare_ultralytics()
    from ultralytics.data.utils import check_det_dataset

    folder = tmp_path / "set"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(folder / "images" / "a.png")
    (folder / "labels" / "a.txt").write_text("0 .5 .5 .2 .2\n")
    path = f"path: {root.format(whole=folder)}\n" if root else ""
    (folder / "data.yaml").write_text(f"{path}train: images\nval: images\nnames: [cat]\n")
    result = verify_labels(folder, VerifyOptions())
    assert ("path-missing" not in result.tallies) is found
    assert any("a trainer resolves it from its working directory" in note for note in result.notes) is told
    if not told:
        check_det_dataset(str(folder / "data.yaml"), autodownload=False)
