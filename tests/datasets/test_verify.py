"""verify looks at labels as a trainer will, says what is wrong, and mends what is safe to mend."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from samcli.config import VerifyOptions
from samcli.datasets.verify import _TRAINER_SUFFIXES, BACKUP_FOLDER, KINDS, verify_labels
from samcli.errors import UsageError
from samcli.images import SUFFIXES
from samcli.masks import Mask
from samcli.output.records import write_record
from samcli.types import Annotation, Instance

BOX = "0 0.5 0.5 0.2 0.2\n"
TRIANGLE = "1 0.1 0.1 0.5 0.1 0.3 0.6\n"
YAML = "train: images\nval: images\nnames: [cat, dog]\n"


def data_set(root: Path, labels: dict[str, str], images: list[str] | None = None, yaml: str | None = YAML) -> Path:
    """`labels` by key without suffix; an empty image for each, or those given."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for key, text in labels.items():
        path = root / "labels" / f"{key}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for key in images if images is not None else [f"{key}.jpg" for key in labels]:
        path = root / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
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
    assert "with 7 rows, one an object; a trainer takes 1 of them; 3 images" in samcli_run("verify", root).stdout


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

    assert {f".{name}" for name in IMG_FORMATS} | set(SUFFIXES) == _TRAINER_SUFFIXES


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
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg").touch()
    (tmp_path / "a.txt").write_text(BOX)
    (tmp_path / "classes.txt").write_text("cat\n")
    assert found(tmp_path) == {"image-without-label": ["b.jpg"]}


def test_mixed_data__names_the_files_that_are_fewer(tmp_path) -> None:
    assert found(data_set(tmp_path, {"a": TRIANGLE, "b": BOX, "c": TRIANGLE, "d": ""})) == {"mixed-data": ["b.txt"]}


def test_mixed_data__does_not_count_files_that_the_trainer_leaves_out(tmp_path) -> None:
    assert found(data_set(tmp_path, {"a": TRIANGLE, "b": "0 0.5 0.5 0.2 nan"})) == {"not-finite": ["b.txt"]}


def test_mixed_data__is_what_the_trainer_refuses(tmp_path, photos) -> None:
    from PIL import Image
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


def test_data_yaml__agrees_with_the_trainer(tmp_path, photos) -> None:
    from ultralytics.data.utils import check_det_dataset

    for number, names in enumerate(("[cat, dog]", "{0: cat, 1: dog}", "{1: cat, 2: dog}", "{0: a, 2: b}", "[]")):
        root = data_set(tmp_path / str(number), {"a": TRIANGLE}, yaml=f"train: images\nval: images\nnames: {names}")
        try:
            check_det_dataset(root / "data.yaml", autodownload=False)
            refused = False
        except Exception:
            refused = True
        assert ("data-yaml" in found(root)) == refused, names


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


def test_command__prints_a_table_and_ends_with_3(tmp_path, samcli_run) -> None:
    root = data_set(tmp_path, {f"{i}": BOX * 2 for i in range(5)})
    result = samcli_run("verify", root)
    assert result.exit_code == 3
    assert "duplicate-row" in result.stdout
    assert "0 errors, 5 warnings" in result.stdout
    assert samcli_run("verify", root, "--fix").exit_code == 0
    assert "Nothing is wrong" in samcli_run("verify", root).stdout


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
