"""Figures of labels against the truth, by hand: perfect, shifted, missing and wrong-class predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from samcli.config import EvalOptions
from samcli.errors import UsageError
from samcli.evaluation.evaluate import evaluate
from samcli.evaluation.ground_truth import EvaluatedObject
from samcli.labels.class_map import ClassMap
from samcli.masks import Mask

NAMES = {0: "cat", 1: "dog"}


def rectangle(x1: int, y1: int, x2: int, y2: int) -> Mask:
    pixels = np.zeros((200, 200), bool)
    pixels[y1:y2, x1:x2] = True
    return Mask.from_pixels(pixels)


def one(
    x1: int, y1: int, x2: int, y2: int, class_id: int = 0, score: float | None = None, **more
) -> EvaluatedObject:
    return EvaluatedObject(class_id, (x1, y1, x2, y2), rectangle(x1, y1, x2, y2), score, **more)


ONE = pytest.approx(1)
"""pycocotools divides by a tiny bit more than there is."""


class Given:
    """A label set out of a dictionary."""

    def __init__(self, images: dict[str, list[EvaluatedObject]], names: dict[int, str] | None = None) -> None:
        self.images, self.names = images, names
        self.image_root, self.notes, self.file_ids, self.lost = None, (), {}, {}

    def keys(self):
        return list(self.images)

    def image_size(self, key):
        return 200, 200

    def objects(self, key, image_size):
        return self.images[key]


TRUTH = {
    "1.jpg": [one(10, 10, 50, 50), one(100, 10, 140, 50, 1)],  # medium, both
    "2.jpg": [one(0, 0, 100, 100)],  # large
    "3.jpg": [],
}


def scored(images: dict[str, list[EvaluatedObject]], score: float = 0.5) -> dict[str, list[EvaluatedObject]]:
    from dataclasses import replace

    return {key: [replace(item, score=score) for item in objects] for key, objects in images.items()}


def figures(predicted: dict, truth: dict = TRUTH, **options):
    found = evaluate(Given(predicted, NAMES), Given(truth, NAMES), EvalOptions(**options))
    return found, found.kinds["mask"]


def test_perfect_predictions__get_1_everywhere() -> None:
    found, masks = figures(scored(TRUTH))
    for scores in (masks, found.kinds["box"]):
        for part in (scores.overall, *scores.by_class.values()):
            assert (part.mean_iou, part.quality) == (1, 1)
            assert (part.ap, part.ap50, part.ap75) == (ONE, ONE, ONE)
            assert [(at.precision, at.recall, at.f1) for at in part.at.values()] == [(1, 1, 1)] * 2
        assert scores.by_size["small"].ap is None
        assert [scores.by_size[size].ap for size in ("medium", "large")] == [ONE, ONE]
        assert scores.worst(10) == []
    assert masks.overall.boundary_iou == 1
    assert (found.notes, found.left_out, found.exit_status) == ([], {}, 0)


def test_dropped_predictions__cost_recall() -> None:
    _, masks = figures({**scored(TRUTH), "2.jpg": []})
    first = masks.overall.at[0.5]
    assert (first.precision, first.recall, first.f1) == (1, 2 / 3, 0.8)
    assert masks.by_class["cat"].at[0.5].recall == 0.5
    assert masks.by_class["dog"].at[0.5].recall == 1
    assert masks.by_size["large"].at[0.5].recall == 0
    assert masks.by_class["dog"].ap == pytest.approx(1)
    assert masks.by_class["cat"].ap == pytest.approx(51 / 101)  # precision 1 up to recall .5, then 0
    assert masks.overall.ap == pytest.approx((1 + 51 / 101) / 2)
    assert masks.worst(10) == ["2.jpg"]


def test_shifted_prediction__has_the_iou_of_the_shift() -> None:
    _, masks = figures(scored({**TRUTH, "2.jpg": [one(0, 25, 100, 125)]}))  # 75 of 125 rows in common
    assert masks.by_image["2.jpg"].mean_iou == pytest.approx(0.6)
    assert masks.overall.mean_iou == pytest.approx((1 + 1 + 0.6) / 3)
    assert masks.overall.at[0.5].f1 == 1
    assert (masks.overall.at[0.75].precision, masks.overall.at[0.75].recall) == (2 / 3, 2 / 3)
    # Boundaries of 6 pixels (2% of the diagonal, 282.8): frames of 100 x 100, shifted by 25 rows.
    # Common: the two sides where both have them, 2 x 6 x 75, and where a side of one crosses the other's
    # horizontal bars nothing more is added, as those lie on the other's inside but for the sides.
    frame = 100 * 100 - 88 * 88
    common = 2 * 6 * 75
    assert masks.by_image["2.jpg"].boundary_iou == pytest.approx(common / (2 * frame - common))


def test_wrong_class__is_both_wrong_and_missed_unless_classes_do_not_count() -> None:
    wrong = scored({**TRUTH, "2.jpg": [one(0, 0, 100, 100, 1)]})
    _, masks = figures(wrong)
    first = masks.overall.at[0.5]
    assert (first.true_positives, first.false_positives, first.false_negatives) == (2, 1, 1)
    assert masks.by_class["dog"].at[0.5].precision == 0.5
    found, masks = figures(wrong, class_agnostic=True)
    assert (masks.overall.at[0.5].f1, masks.overall.ap, list(masks.by_class)) == (1, ONE, ["object"])
    assert found.classes_matched_by == "nothing"


def test_invented_predictions__cost_precision_in_their_own_size() -> None:
    extra = {**scored(TRUTH), "3.jpg": [one(0, 0, 10, 10, score=0.4)]}
    _, masks = figures(extra)
    assert masks.overall.at[0.5].precision == 0.75
    assert masks.by_size["small"].at[0.5].false_positives == 1
    assert masks.by_image["3.jpg"].quality == 0
    assert masks.by_image["3.jpg"].at[0.5].recall is None


def test_crowd__neither_helps_nor_harms() -> None:
    truth = {"1.jpg": [one(10, 10, 50, 50), one(100, 100, 200, 200, crowd=True)]}
    predicted = {
        "1.jpg": [one(10, 10, 50, 50, score=0.9), *(one(x, 110, x + 20, 130, score=0.8) for x in (110, 150))]
    }
    _, masks = figures(predicted, truth)
    assert (masks.overall.truth, masks.overall.predicted, masks.overall.at[0.5].f1) == (1, 1, 1)
    assert masks.overall.ap == ONE


def test_sizes__go_by_the_stated_area_as_coco_s_do() -> None:
    truth = {"1.jpg": [one(10, 10, 50, 50, stated_area=500.0)]}
    _, masks = figures(scored({"1.jpg": [one(10, 10, 50, 50)]}), truth)
    assert (masks.by_size["small"].truth, masks.by_size["medium"].truth) == (1, 0)
    assert (masks.by_size["small"].ap, masks.by_size["medium"].ap) == (ONE, None)


def test_without_scores__the_best_pair_is_matched_first_and_it_says_so() -> None:
    found, masks = figures(TRUTH)
    assert found.matched_by == "iou"
    assert any("3 of 3 predictions have no score" in note for note in found.notes)
    assert masks.overall.at[0.5].f1 == 1
    with pytest.raises(UsageError, match="--match score"):
        figures(TRUTH, match="score")


def test_worst_images__have_the_lowest_quality_then_the_most_mistakes() -> None:
    truth = {f"{i}.jpg": [one(10, 10, 50, 50), one(100, 100, 150, 150)] for i in range(4)}
    predicted = scored({
        "0.jpg": [],
        "1.jpg": truth["1.jpg"][:1],
        "2.jpg": [one(0, 60, 9, 69)],
        "3.jpg": truth["3.jpg"],
    })  # fmt: skip
    _, masks = figures(predicted, truth)
    assert masks.worst(10) == ["2.jpg", "0.jpg", "1.jpg"]
    assert masks.worst(1) == ["2.jpg"]


def test_boxes_on_one_side__give_figures_of_boxes_alone() -> None:
    boxes = {"1.jpg": [EvaluatedObject(0, (10, 10, 50, 50)), EvaluatedObject(1, (100, 10, 140, 50))]}
    found = evaluate(Given(scored({"1.jpg": TRUTH["1.jpg"]}), NAMES), Given(boxes, NAMES), EvalOptions())
    assert list(found.kinds) == ["box"]
    assert found.main == "box"
    assert found.kinds["box"].overall.ap == ONE
    assert any("truth has boxes only" in note for note in found.notes)
    found = evaluate(Given(scored(boxes), NAMES), Given({"1.jpg": TRUTH["1.jpg"]}, NAMES), EvalOptions())
    assert list(found.kinds) == ["box"]
    assert any("predictions have boxes only" in note for note in found.notes)


def test_classes__are_matched_by_name_where_both_have_names() -> None:
    truth = Given({"1.jpg": [one(10, 10, 50, 50, 17)]}, {17: "cat", 18: "dog"})
    predicted = scored({"1.jpg": [one(10, 10, 50, 50, 0)]})
    found = evaluate(Given(predicted, NAMES), truth, EvalOptions())
    assert (found.classes_matched_by, found.kinds["mask"].overall.ap) == ("name", ONE)
    for names, options in ((NAMES, EvalOptions(match_classes="id")), (None, EvalOptions())):
        found = evaluate(Given(predicted, names), truth, options)
        assert (found.classes_matched_by, found.kinds["mask"].overall.at[0.5].recall) == ("id", 0)
    with pytest.raises(UsageError, match="the predictions have no class names"):
        evaluate(Given(predicted), truth, EvalOptions(match_classes="name"))


def test_classes__that_the_truth_does_not_have_are_named() -> None:
    predicted = Given(scored({"1.jpg": [one(10, 10, 50, 50, 5)]}), {5: "kitten"})
    found = evaluate(predicted, Given(TRUTH, NAMES), EvalOptions())
    assert any("kitten" in note for note in found.notes)


def test_class_map__says_what_predicted_classes_are_called_in_the_truth() -> None:
    images = {"1.jpg": [*TRUTH["1.jpg"], one(0, 100, 20, 120, 2)]}
    predicted = Given(scored(images), {0: "kitten", 1: "dog", 2: "lamp"})
    mapping = ClassMap({"kitten": "cat", "lamp": None})
    found = evaluate(predicted, Given({"1.jpg": TRUTH["1.jpg"]}, NAMES), EvalOptions(), class_map=mapping)
    assert found.kinds["mask"].overall.at[0.5].f1 == 1
    assert set(found.names.values()) == {"cat", "dog"}
    with pytest.raises(UsageError, match="by name"):
        evaluate(predicted, Given(TRUTH), EvalOptions(), class_map=mapping)


def test_images_that_one_side_lacks__are_left_out_and_counted() -> None:
    predicted = {**scored({"1.jpg": TRUTH["1.jpg"]}), "9.jpg": []}
    found, masks = figures(predicted)
    assert list(masks.by_image) == ["1.jpg"]
    assert masks.overall.at[0.5].recall == 1
    assert any("1 of 2 images have no ground truth" in note for note in found.notes)
    assert any("2 images of the ground truth left out: no prediction" in note for note in found.notes)
    with pytest.raises(UsageError, match="no image in common"):
        figures({"9.jpg": []})


def folder_of(root: Path, rows: dict[str, str], names: str = "[cat, dog]") -> Path:
    root.mkdir(parents=True)
    for key, text in rows.items():
        (root / f"{key}.txt").write_text(text)
    (root / "data.yaml").write_text(f"names: {names}\n")
    return root


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Images of 100 x 80, YOLO polygons as the truth, and predictions: one right, one missing."""
    (tmp_path / "images").mkdir()
    for name in ("a", "b", "c"):
        PillowImage.new("RGB", (100, 80), (90, 120, 60)).save(tmp_path / "images" / f"{name}.png")
    row = "0 0.1 0.1 0.6 0.1 0.6 0.8 0.1 0.8\n"
    truth = folder_of(tmp_path / "truth", {"a": row, "b": row, "c": ""})
    return tmp_path / "images", folder_of(tmp_path / "predicted", {"a": row, "c": ""}), truth


def test_images_folder__counts_images_without_prediction_as_missed(folders, samcli_run) -> None:
    images, predicted, truth = folders
    facts = json.loads(samcli_run("eval", predicted, "--truth", truth, "--images", images, "--json").stdout)
    assert facts["images"] == 3
    assert facts["mask"]["overall"]["at"]["0.5"]["recall"] == 0.5
    assert list(facts["mask"]["worst"]) == ["b.png"]


def test_sizes_that_nobody_knows__are_asked_for(folders, samcli_run) -> None:
    _, predicted, truth = folders
    result = samcli_run("eval", predicted, "--truth", truth)
    assert result.exit_code == 2
    assert "--images" in result.stderr


def test_image_whose_labels_are_damaged__is_left_out_and_the_status_says_so(folders, samcli_run) -> None:
    images, predicted, truth = folders
    (predicted / "c.txt").write_text("0 nan")
    result = samcli_run("eval", predicted, "--truth", truth, "--images", images)
    assert result.exit_code == 3
    assert "c.png" in result.stdout


def test_command__prints_tables_a_plot_and_the_worst_images(folders, samcli_run, tmp_path) -> None:
    images, predicted, truth = folders
    plot, worst = tmp_path / "plot.svg", tmp_path / "worst.png"
    arguments = ("eval", predicted, "--truth", truth, "--images", images, "--plot", plot, "--worst", worst)
    result = samcli_run(*arguments)
    assert result.exit_code == 0, result.stderr
    assert all(word in result.stdout for word in ("Masks", "Boxes", "cat", "Worst images", "b.png"))
    assert max(map(len, result.stdout.split("Worst")[0].splitlines())) <= 80
    first = plot.read_bytes()
    assert first.startswith(b"<?xml")
    assert b"cat (2)" in first or b"<svg" in first
    sheet = np.asarray(PillowImage.open(worst))
    missed = (sheet == (255, 200, 0)).all(-1)
    assert missed.sum() > 500, "the outline of the truth that was missed"
    assert not (sheet[60:] == (255, 0, 190)).all(-1).any(), "nothing was predicted there"


@pytest.mark.parametrize(
    ("flag", "name", "expected"),
    [
        ("--plot", "a.txt", "--plot"),
        ("--worst", "a.jpg", "ends in .png"),
        ("--plot", "file/a.png", "cannot write in"),
        ("--worst", "file/a.png", "cannot write in"),
    ],
)
def test_picture__that_cannot_be_written_is_refused_before_the_work(
    folders, samcli_run, tmp_path, flag, name, expected
) -> None:
    images, predicted, truth = folders
    (tmp_path / "file").touch()
    result = samcli_run("eval", predicted, "--truth", truth, "--images", images, flag, tmp_path / name)
    assert (result.exit_code, expected in result.stderr, result.stdout) == (2, True, "")


def test_run__of_polygons_that_are_kept_equals_them(samcli_run, photo_folder, small_sam, tmp_path) -> None:
    rows = {name: f"{i} 0.1 0.1 0.6 0.15 0.55 0.8 0.2 0.7\n" for i, name in enumerate(("bus", "zidane"))}
    polygons = folder_of(tmp_path / "polygons", rows, "[bus, person]")
    output = tmp_path / "out"
    run = samcli_run("prompt", photo_folder, "--prompts", polygons, "--sam", small_sam, "-o", output)
    assert run.exit_code == 0, run.stderr
    worst = tmp_path / "worst.png"
    facts = json.loads(samcli_run("eval", output, "--truth", polygons, "--worst", worst, "--json").stdout)
    assert (facts["images"], facts["classes_matched_by"], facts["matched_by"]) == (2, "name", "iou")
    assert facts["mask"]["overall"]["mean_iou"] == facts["mask"]["overall"]["boundary_iou"] == 1
    assert not worst.exists(), "no image has a mistake"
    other = folder_of(tmp_path / "other", {"bus": "0 0.3 0.1 0.8 0.15 0.75 0.8 0.4 0.7\n"}, "[bus, person]")
    assert samcli_run("eval", output, "--truth", other, "--worst", worst).exit_code == 0
    assert worst.is_file(), "a run knows where its images are"


def test_real_photos__boxes_of_the_tiny_model_against_polygons(coco_photos, samcli_run, tmp_path) -> None:
    """Classes are matched by name: the ids of the two label folders differ."""
    data = coco_photos.parent
    (tmp_path / "images").mkdir()
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    for stem in ("000000000025", "000000000072"):
        (tmp_path / "images" / f"{stem}.jpg").symlink_to(coco_photos / f"{stem}.jpg")
        (boxes / f"{stem}.txt").write_text((data / "labels-boxes" / f"{stem}.txt").read_text())
    (boxes / "data.yaml").write_text((data / "names-boxes.yaml").read_text())
    output = tmp_path / "out"
    run = samcli_run("prompt", tmp_path / "images", "--prompts", boxes, "--sam", "tiny", "-o", output)
    assert run.exit_code == 0, run.stderr
    result = samcli_run(
        "eval", output, "--truth", data / "labels-polygons", "--truth-names", data / "names-polygons.yaml", "--json"
    )
    facts = json.loads(result.stdout)
    assert (facts["images"], facts["classes_matched_by"]) == (2, "name")
    assert list(facts["mask"]["by_class"]) == ["giraffe"]
    overall = facts["mask"]["overall"]
    assert overall["truth"] == 4
    assert 1 <= overall["predicted"] <= 4, "the tiny model does not know giraffes: of some it may make no mask"


def test_classes_without_names__are_matched_by_number_and_it_says_how(tmp_path, samcli_run) -> None:
    folder = folder_of(tmp_path / "labels", {"a": "1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n"})
    (folder / "data.yaml").unlink()
    ring = [[10, 10, 30, 10, 30, 30, 10, 30]]
    truth = tmp_path / "truth.json"
    annotation = {"id": 1, "image_id": 1, "category_id": 18, "segmentation": ring, "bbox": [10, 10, 20, 20]}
    image = {"id": 1, "file_name": "a.jpg", "width": 40, "height": 40}
    categories = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    truth.write_text(json.dumps({"images": [image], "annotations": [annotation], "categories": categories}))
    result = samcli_run("eval", folder, "--truth", truth, "--json")
    said = json.loads(result.stdout)
    assert said["box"]["by_class"]["dog"]["at"]["0.5"]["true_positives"] == 1
    (how,) = [note for note in said["notes"] if "matched by id" in note]
    assert "class 0 is the first category of the ground truth (id 17, 'cat'), then in order of id" in how
    (folder / "data.yaml").write_text("names: [bird, horse]\n")
    other = samcli_run("eval", folder, "--truth", truth)
    assert other.exit_code == 3
    assert "in common (predicted" in other.output
